// What works on the page: plots, switches, budget slider, pinned points, image differences. Nothing is loaded from
// elsewhere.
document.addEventListener("DOMContentLoaded", () => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const onPress = (attribute, act) => all(`button[data-${attribute}]`).forEach((button) =>
    button.addEventListener("click", () => { press(button); act(button.dataset[attribute]); }));
  const press = (button) => all("button", button.parentElement).forEach((other) =>
    other.setAttribute("aria-pressed", String(other === button)));

  contents();
  fillSlots();
  const pin = pinning(), showPicked = byId("budget") ? budgetSlider() : () => {};
  differences();
  drawPlots().then(useThePlot, sayWhy).then(() => dispatchEvent(new Event("drawn")));

  // Links to the sections, below the header.
  function contents() {
    const links = document.createElement("nav");
    links.setAttribute("aria-label", "sections");
    all("section > h2").forEach((title, i) => {
      title.id = `section-${i}`;
      links.append(Object.assign(document.createElement("a"), { href: `#${title.id}`, textContent: title.textContent }));
    });
    document.querySelector("header").after(links);
  }

  // After all that can be read without them, one after another; in between the page answers what it is asked.
  async function drawPlots() {
    const free = () => new Promise((go) => setTimeout(go));
    await free();
    const program = document.createElement("script");
    program.textContent = await unpacked(byId("plotly").textContent);
    document.head.append(program);
    for (const place of all("[data-plot]")) {
      await free();
      const { data, layout, config } = JSON.parse(byId(place.dataset.plot).textContent);
      await Plotly.newPlot(place, data, layout, config);
    }
  }

  function unpacked(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function sayWhy(error) {
    all(".plot").forEach((plot) => plot.replaceChildren(`This browser cannot draw the plots: ${error.message}`));
  }

  function useThePlot() {
    const plot = byId("pareto");
    plot.on("plotly_click", (event) => pin(event.points[0].customdata));
    showPicked();
    ["xaxis", "yaxis"].forEach((axis) => {
      const now = document.querySelector(`button[data-${axis}="${plot.layout[axis].type}"]`);
      if (now) press(now);
      onPress(axis, (type) => {
        const nticks = axis === "xaxis" && type === "log" ? 3 : 0; // more would overlap on a narrow screen
        Plotly.relayout(plot, { [`${axis}.type`]: type, [`${axis}.autorange`]: true, [`${axis}.nticks`]: nticks });
      });
    });
    ["group", "search", "posterior"].forEach((name) => onPress(name, () => {
      Plotly.restyle(plot, { visible: plot.data.map(isShown) }, plot.data.map((_, i) => i));
      Plotly.relayout(plot, { "xaxis.autorange": true, "yaxis.autorange": true });
    }));
  }

  // The values of one group of images stand alone; the front of all images has the search's points beside it.
  function isShown({ meta }) {
    const pressed = (name) => document.querySelector(`button[data-${name}][aria-pressed="true"]`)?.dataset[name];
    const group = pressed("group") || "all";
    if (String(meta).startsWith("group-")) return meta === `group-${group}`;
    return group === "all" && (pressed(meta || "none") || "shown") === "shown";
  }

  // A card shows the strip that the sample grid has.
  function fillSlots() {
    all(".slot").forEach((slot) => {
      const strip = all("#samples img").find((img) => img.dataset.of === slot.dataset.strip);
      if (strip) slot.replaceChildren(strip.cloneNode());
    });
  }

  function budgetSlider() {
    const sliders = JSON.parse(byId("sliders").textContent), slider = byId("budget");
    let places = sliders[0].places;
    const show = () => {
      const place = places[Number(slider.value)];
      byId("limit").textContent = place.limit;
      byId("call").textContent = place.call;
      byId("refusal").textContent = place.refusal;
      slider.setAttribute("aria-valuetext", `${place.limit}: ${place.allocation || "nothing fits"}`);
      all("#picked .card").forEach((card) => { card.hidden = card.dataset.allocation !== place.allocation; });
      markInPlot(place.allocation);
    };
    onPress("slider", (number) => {
      const before = places[Number(slider.value)].allocation;
      places = sliders[Number(number)].places;
      slider.max = places.length - 1;
      const same = places.findIndex((place) => place.allocation === before);
      slider.value = same >= 0 ? same : places.length - 1;
      show();
    });
    slider.addEventListener("input", show);
    show();
    byId("pin").addEventListener("click", () => all("#picked .card").filter((card) => !card.hidden)
      .forEach((card) => pin([card.dataset.allocation])));
    return show;
  }

  // A ring around what the slider picks.
  function markInPlot(allocation) {
    const plot = byId("pareto");
    if (!plot.data) return; // not drawn yet
    const ring = plot.data.findIndex((trace) => trace.meta === "picked");
    const front = plot.data.find((trace) => trace.meta === "front");
    const at = front.customdata.findIndex((row) => row[0] === allocation);
    const of = (values) => (at < 0 ? [] : [Array.from(values)[at]]);
    Plotly.restyle(plot, { x: [of(front.x)], y: [of(front.y)] }, [ring]);
  }

  function pinning() {
    const pinned = byId("pinned");
    return (told) => {
      const before = all(".pin", pinned).find((one) => one.dataset.allocation === told[0]);
      if (before) { before.remove(); return; }
      const one = document.createElement("div"), close = document.createElement("button");
      one.className = "pin";
      one.dataset.allocation = told[0];
      Object.assign(close, { type: "button", textContent: "unpin" });
      close.setAttribute("aria-label", `unpin ${told[0]}`);
      close.addEventListener("click", () => one.remove());
      const known = all("#picked .card").find((card) => card.dataset.allocation === told[0]);
      one.append(known ? known.cloneNode(true) : lines(told), close);
      all(".card", one).forEach((card) => { card.hidden = false; });
      pinned.append(one);
    };
    function lines(told) {
      const card = document.createElement("article");
      card.className = "card";
      told.forEach((text) => card.appendChild(document.createElement("p")).append(text));
      return card;
    }
  }

  function differences() {
    const strips = all("#samples img");
    const anchor = strips.find((img) => img.dataset.of === byId("samples").dataset.anchor);
    if (!anchor) return;
    const original = new Map(strips.map((img) => [img, img.src]));
    onPress("samples", (choice) => {
      if (choice === "images") { strips.forEach((img) => { img.src = original.get(img); }); return; }
      const base = canvasOf(anchor).data.data;
      strips.filter((img) => img !== anchor).forEach((img) => { img.src = difference(img, base); });
    });
    function canvasOf(img) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [anchor.naturalWidth, anchor.naturalHeight];
      const context = canvas.getContext("2d");
      context.drawImage(img, 0, 0, canvas.width, canvas.height);
      return { canvas, context, data: context.getImageData(0, 0, canvas.width, canvas.height) };
    }
    function difference(img, base) {
      const { canvas, context, data } = canvasOf(img);
      base.forEach((value, i) => { if (i % 4 < 3) data.data[i] = Math.min(255, 4 * Math.abs(data.data[i] - value)); });
      context.putImageData(data, 0, 0);
      return canvas.toDataURL();
    }
  }
});
