// The two switches under the Pareto plot. Plotly is on the page already; nothing is loaded from elsewhere.
document.addEventListener("DOMContentLoaded", () => {
  const plot = document.getElementById("pareto");
  const press = (button) => button.parentElement.querySelectorAll("button").forEach((other) =>
    other.setAttribute("aria-pressed", String(other === button)));

  document.querySelectorAll("button[data-axis]").forEach((button) => {
    if (button.dataset.axis === plot.layout.yaxis.type) press(button);
    button.addEventListener("click", () => {
      press(button);
      Plotly.relayout(plot, { "yaxis.type": button.dataset.axis, "yaxis.autorange": true });
    });
  });

  const search = plot.data.map((trace, i) => (trace.meta === "search" ? i : -1)).filter((i) => i >= 0);
  document.querySelectorAll("button[data-search]").forEach((button) =>
    button.addEventListener("click", () => {
      press(button);
      Plotly.restyle(plot, { visible: button.dataset.search === "shown" }, search);
      Plotly.relayout(plot, { "xaxis.autorange": true, "yaxis.autorange": true });
    }));
});
