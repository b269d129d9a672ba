// Draws the charts with the page's own colours, and again when the theme changes. Everything else works without a script.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);

  function coloured(value, style) {
    if (typeof value === "string" && value.startsWith("@")) return style.getPropertyValue("--" + value.slice(1)).trim();
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    }
    return value;
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const element of document.querySelectorAll("[data-figure]")) {
      const figure = coloured(figures[element.dataset.figure], style);
      Plotly.react(element, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    }
  }

  draw();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
