// The search shows the words around what it found, or the beginning of the page where it found only another form of the
// word. That beginning should be the article's, not the labels of the buttons above it.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const before = Search.htmlToText;
  Search.htmlToText = (page, anchor) => {
    const article = new DOMParser().parseFromString(page, "text/html").querySelector("article");
    article?.setAttribute("role", "main");
    return before(article ? article.outerHTML : page, anchor);
  };
});
