"use strict";
// Replaces the static image of each figure by its interactive chart as it comes near the viewport; print shows images.
{
  const themes = JSON.parse(document.getElementById("figure-themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  // The rows of a chart from its CSV: Vega's own reader evaluates code, which the page's security policy forbids.
  const withRows = (spec) => {
    const { values: text, format: { parse } } = spec.data;
    const lines = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\n|$)/g)) {
      lines.at(-1).push(quoted?.replace(/""/g, '"') ?? plain);
      if (end === "\n") lines.push([]);
    }
    const [names, ...rows] = lines.slice(0, -1);
    const value = (cell, column) => (cell === "" ? null : parse[names[column]] === "number" ? Number(cell) : cell);
    const values = rows.map((row) => Object.fromEntries(row.map((cell, column) => [names[column], value(cell, column)])));
    return { ...spec, data: { values } };
  };
  const draw = async (figure) => {
    const image = figure.querySelector("img");
    const spec = withRows(JSON.parse(figure.querySelector("script.spec").textContent));
    const config = themes[dark.matches ? "dark" : "light"][spec.usermeta.rates];
    const target = document.createElement("div");
    target.className = "live";
    target.setAttribute("aria-hidden", "true"); // The image and its alternative text stay for assistive technology.
    const { view } = await vegaEmbed(target, spec, { config, renderer: "svg", actions: false, ast: true });
    target.addEventListener("click", ({ target: mark }) => {
      const rate = mark.closest(".role-legend-entry") && mark.__data__?.datum?.value;
      if (typeof rate !== "string" || !spec.usermeta.rates) return;
      const shown = view.signal("rates");
      view.signal("rates", shown.includes(rate) ? shown.filter((one) => one !== rate) : [...shown, rate]).runAsync();
    });
    views.get(figure)?.view.finalize();
    figure.querySelector(".live")?.remove();
    image.after(target);
    figure.classList.add("interactive");
    views.set(figure, { view });
  };
  // A chart that fails leaves its image.
  const attempt = (figure) => draw(figure).catch((error) => console.error(error));
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        near.unobserve(target);
        attempt(target);
      }
    }
  }, { rootMargin: "300px 0px" });
  document.querySelectorAll("figure.chart").forEach((figure) => near.observe(figure));
  dark.addEventListener("change", () => [...views.keys()].forEach(attempt));
}
