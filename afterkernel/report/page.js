"use strict";
// Tables are sorted by a click on a heading: up, down, and back to the given order.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], given = [...body.rows];
  const number = (text) => {
    const found = text.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1").match(/^[<[\s]*([+-]?\d*\.?\d+(?:e[+-]?\d+)?)/i);
    return found ? parseFloat(found[1]) : NaN;
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", next);
    const text = (row) => row.cells[column].firstChild?.textContent.trim() ?? "";
    const missing = (row) => text(row) === "" || text(row) === "\u2013";
    const numeric = given.every((row) => missing(row) || !Number.isNaN(number(text(row))));
    const order = (a, b) => numeric ? number(text(a)) - number(text(b))
      : text(a).localeCompare(text(b), "en", { numeric: true });
    const rows = next === "none" ? given : [...given].sort((a, b) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b); // what is missing comes last either way
      return next === "ascending" ? order(a, b) : order(b, a);
    });
    body.append(...rows);
  }));
}
// On paper nothing is folded away.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
