"use strict";
// Replaces the static image of each figure by its interactive chart as it comes near the viewport; print shows images.
{
  const themes = JSON.parse(document.getElementById("figure-themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  const draw = async (figure) => {
    const image = figure.querySelector("img");
    const spec = JSON.parse(figure.querySelector("script.spec").textContent);
    const config = themes[dark.matches ? "dark" : "light"][spec.usermeta.rates];
    const target = document.createElement("div");
    target.className = "live";
    target.setAttribute("aria-hidden", "true"); // The image and its alternative text stay for assistive technology.
    const { view } = await vegaEmbed(target, spec, { config, renderer: "svg", actions: false, ast: true });
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
