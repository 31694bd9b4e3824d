"use strict";
// Headings of tables sort their rows, within each group: up, down, and back to the given order.
const number = (text) => {
  const found = text.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1").match(/^[<[\s]*([+-]?\d*\.?\d+(?:e[+-]?\d+)?)/i);
  return found ? parseFloat(found[1]) : NaN;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const groups = [...table.tBodies].map((body) => ({ body, given: [...body.rows].filter((row) => !row.classList.contains("group")) }));
  const all = groups.flatMap((group) => group.given);
  if (all.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.classList.add("sorts");
    const text = (row) => row.cells[column].firstChild?.textContent.trim() ?? "";
    const missing = (row) => text(row) === "" || text(row) === "\u2013";
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      const state = next === undefined ? "ascending" : next;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (state) head.setAttribute("aria-sort", state);
      const numeric = all.every((row) => missing(row) || !Number.isNaN(number(text(row))));
      const order = (a, b) => numeric ? number(text(a)) - number(text(b)) : text(a).localeCompare(text(b), "en", { numeric: true });
      for (const { body, given } of groups) {
        body.append(...(state === null ? given : [...given].sort((a, b) => {
          if (missing(a) || missing(b)) return missing(a) - missing(b); // what is missing comes last either way
          return state === "ascending" ? order(a, b) : order(b, a);
        })));
      }
    });
  });
}
// Filters: a row or section is hidden if it is about other data, another network or another learning rate.
const form = document.querySelector("form.filter"), selects = [...form.querySelectorAll("select")];
const tagged = [...document.querySelectorAll("[data-data], [data-network], [data-rate]")];
for (const select of selects) {
  const values = [...new Set(tagged.map((one) => one.dataset[select.name]).filter(Boolean))];
  values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  if (select.name === "rate") values.sort((a, b) => a - b);
  select.append(...values.map((value) => new Option(value)));
  select.closest("label").hidden = values.length < 2;
}
const filter = () => {
  const wanted = selects.filter((one) => one.value);
  for (const one of tagged) one.hidden = wanted.some(({ name, value }) => (one.dataset[name] ?? value) !== value);
  const rows = tagged.filter((one) => one.matches("tr"));
  form.querySelector("output").textContent = wanted.length ? `${rows.filter((one) => !one.hidden).length} of ${rows.length} rows` : "";
};
form.addEventListener("change", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.hidden = false;
// Unfold all, and fold all again.
const folds = [...document.querySelectorAll("details")], unfold = form.querySelector(".unfold");
unfold.addEventListener("click", () => {
  const open = unfold.getAttribute("aria-pressed") !== "true";
  folds.forEach((one) => { one.open = open; });
  unfold.setAttribute("aria-pressed", open);
});
// The target of a link is unfolded, in browsers that do not do so themselves.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target?.closest("details"); one; one = one.parentElement.closest("details")) one.open = true;
  target?.scrollIntoView();
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();
// On paper, comparisons and sections are unfolded; values per seed, trajectories, long tables and options are not.
let folded = [];
addEventListener("beforeprint", () => {
  folded = folds.filter((one) => !one.open && one.matches(".evidence, .data-part"));
  folded.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
