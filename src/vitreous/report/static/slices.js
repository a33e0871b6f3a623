// Sections of every .viewer's map across z, y and x, each with a slider; no WebGL is needed.
(() => {
  "use strict";

  const link = document.querySelector(".link-views input");
  const viewers = [];

  // Offset and strides (along the picture, up the picture) of a section in a [z][y][x] cube.
  const cuts = side => [
    index => [index * side * side, 1, side],   // across z: x to the right, y up
    index => [index * side, 1, side * side],   // across y: x to the right, z up
    index => [index, side, side * side]];      // across x: y to the right, z up

  function greys(bytes) {
    const sorted = bytes.slice().sort();
    const low = sorted[Math.floor(0.002 * sorted.length)];
    const high = Math.max(sorted[Math.floor(0.999 * sorted.length)], low + 1);
    return Uint8ClampedArray.from({ length: 256 }, (_, value) => 255 * (value - low) / (high - low));
  }

  function start(root) {
    const side = Number(root.dataset.side), voxel = Number(root.dataset.width) / side;
    const text = atob(root.querySelector(".texture").textContent.trim());
    const bytes = Uint8Array.from(text, letter => letter.charCodeAt(0)), grey = greys(bytes);
    const panels = [...root.querySelectorAll(".slices > div")].map((panel, axis) => {
      const canvas = panel.querySelector("canvas"), slider = panel.querySelector("input");
      const output = panel.querySelector("output"), ink = canvas.getContext("2d");
      const picture = ink.createImageData(side, side), cut = cuts(side)[axis];
      canvas.width = canvas.height = side;
      slider.max = side - 1;

      function show(place) {  // angstrom from the middle of the box
        const index = Math.min(side - 1, Math.max(0, Math.round(place / voxel + side / 2)));
        const [first, right, up] = cut(index);
        for (let y = 0, at = 0; y < side; y++)
          for (let x = 0; x < side; x++, at += 4) {
            const value = grey[bytes[first + x * right + (side - 1 - y) * up]];
            picture.data.set([value, value, value, 255], at);
          }
        ink.putImageData(picture, 0, 0);
        slider.value = index;
        output.textContent = `${((index - side / 2) * voxel).toFixed(0)} Å`;
      }

      slider.addEventListener("input", () => {
        const place = (Number(slider.value) - side / 2) * voxel;
        for (const one of link?.checked ? viewers : [panels]) one[axis](place);
      });
      show(0);
      return show;
    });
    viewers.push(panels);
    root.querySelector(".slices").hidden = false;
  }

  document.querySelectorAll(".viewer").forEach(start);
  if (link && viewers.length > 1) link.closest(".link-views").hidden = false;
})();
