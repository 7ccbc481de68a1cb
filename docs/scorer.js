// What the search ranks first: a page whose title holds the word, then the glossary, which defines it, then the rest. The
// numbers but for the glossary's are those that Sphinx has without this file.
var Scorer = {
  score: ([docName, title, anchor, description, score]) => (docName === "glossary" ? score + 20 : score),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
