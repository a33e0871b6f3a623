// Turns every .viewer of the page into a map that can be turned: an isosurface found by
// marching rays through a 3D texture.  One WebGL context draws for all viewers, each of which
// copies the result into a canvas of its own, so a page may hold any number of them and prints.
(() => {
  "use strict";

  const VERTEX = `#version 300 es
    out vec2 at;
    void main() {  // one triangle that covers the picture
      at = vec2(gl_VertexID == 1 ? 3 : -1, gl_VertexID == 2 ? 3 : -1);
      gl_Position = vec4(at, 0, 1);
    }`;

  const FRAGMENT = `#version 300 es
    precision highp float; precision highp sampler3D;
    in vec2 at; out vec4 result;
    uniform sampler3D map, tint;
    uniform mat3 turn;  // from the eye's frame to the map's
    uniform float level, floor, extent, side, tinted;
    uniform vec3 colour;

    // Of the palette viridis, from its dark end.
    const vec3 PALETTE[5] = vec3[5](vec3(0.267, 0.005, 0.329), vec3(0.230, 0.322, 0.546),
      vec3(0.128, 0.567, 0.551), vec3(0.369, 0.789, 0.383), vec3(0.993, 0.906, 0.144));

    vec3 own(vec3 p) {
      if (tinted < 0.5) return colour;
      float place = 4.0 * (1.0 - texture(tint, p + 0.5 + 0.5 / side).r);  // fine detail is bright
      int step = int(min(place, 3.0));
      return mix(PALETTE[step], PALETTE[step + 1], place - float(step));
    }

    const float EYE = 3.0;  // from the centre of the unit cube
    const int STEPS = 320;

    // The box's centre is the centre of voxel side / 2, half a voxel off the texture's.
    float density(vec3 p) { return texture(map, p + 0.5 + 0.5 / side).r; }

    vec3 gradient(vec3 p) {
      vec2 e = vec2(1.1 / side, 0);
      return vec3(density(p + e.xyy) - density(p - e.xyy),
                  density(p + e.yxy) - density(p - e.yxy),
                  density(p + e.yyx) - density(p - e.yyx));
    }

    // How much of the way out from the surface is blocked by density nearby.
    float crowding(vec3 p, vec3 normal) {
      float blocked = 0.0, weight = 0.5;
      for (int i = 1; i <= 5; i++) {
        float reach = float(i) * 1.8 / side;
        blocked += weight * smoothstep(mix(floor, level, 0.25), level, density(p + normal * reach));
        weight *= 0.72;
      }
      return blocked / 1.44;
    }

    vec3 shade(vec3 p, vec3 ray) {
      vec3 normal = -normalize(gradient(p) + 1e-9 * ray);
      vec3 seen = normal * turn;  // in the eye's frame
      vec3 key = normalize(vec3(-0.45, 0.6, 0.75));
      float direct = max(dot(seen, key), 0.0);
      float sky = 0.5 + 0.5 * seen.y;
      float gloss = pow(max(dot(reflect(-key, seen), vec3(0, 0, 1)), 0.0), 24.0);
      float open = 1.0 - 0.75 * crowding(p, normal);
      float depth = clamp(0.5 - (p * turn).z / 1.1, 0.0, 1.0);
      vec3 base = mix(own(p), vec3(1), 0.22);
      vec3 lit = base * (0.30 + 0.30 * sky + 0.62 * direct) * open + 0.12 * gloss * open;
      return lit * mix(1.08, 0.62, depth * depth * (3.0 - 2.0 * depth));
    }

    void main() {
      vec3 eye = turn * vec3(0, 0, EYE);
      vec3 ray = turn * normalize(vec3(at * extent, -EYE));
      vec3 a = (-0.5 - eye) / ray, b = (0.5 - eye) / ray;
      vec3 low = min(a, b), high = max(a, b);
      float near = max(max(low.x, low.y), low.z), far = min(min(high.x, high.y), high.z);
      float pace = 0.6 / side;
      result = vec4(0);
      for (int i = 0; i < STEPS; i++) {
        float t = near + float(i) * pace;
        if (t > far) return;
        if (density(eye + t * ray) < level) continue;
        float outside = t - pace, inside = t;
        for (int k = 0; k < 7; k++) {
          float middle = 0.5 * (outside + inside);
          if (density(eye + middle * ray) < level) outside = middle; else inside = middle;
        }
        result = vec4(shade(eye + inside * ray, ray), 1); return;
      }
    }`;

  const DALTON_PER_CUBIC_ANGSTROM = 0.81;  // protein of 1.35 g/cm3
  const SPAN = 0.55;  // half of the picture's edge at zoom 1, in edges of the map's cube

  const gl = document.createElement("canvas").getContext("webgl2", { antialias: false });
  if (!gl) return;  // the still pictures stay
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  const places = Object.fromEntries(
    ["turn", "level", "floor", "extent", "side", "colour", "tint", "tinted"].map(
      name => [name, gl.getUniformLocation(program, name)]));
  gl.uniform1i(places.tint, 1);  // the map's own texture is at 0

  function upload(bytes, side) {
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_3D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8, side, side, side, 0, gl.RED, gl.UNSIGNED_BYTE, bytes);
    for (const axis of ["S", "T", "R"])
      gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_WRAP_${axis}`], gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
      gl.texParameteri(gl.TEXTURE_3D, filter, gl.LINEAR);
    return texture;
  }

  // Quaternions as [w, x, y, z].
  const multiply = ([a, b, c, d], [e, f, g, h]) => [
    a * e - b * f - c * g - d * h, a * f + b * e + c * h - d * g,
    a * g - b * h + c * e + d * f, a * h + b * g - c * f + d * e];

  function rotation(x, y, z, angle) {
    const s = Math.sin(angle / 2) / (Math.hypot(x, y, z) || 1);
    return [Math.cos(angle / 2), x * s, y * s, z * s];
  }

  // Column by column of the inverse, which is row by row of the rotation: eye to map.
  function toMap(q) {
    const [w, x, y, z] = q.map(v => v / Math.hypot(...q));
    return [
      1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
      2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
      2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
  }

  function niceLength(longest) {
    const power = 10 ** Math.floor(Math.log10(longest));
    return ([5, 2].find(step => step * power <= longest) ?? 1) * power;
  }

  // Share of the voxels at or above each of the 256 values.
  function volumesAbove(bytes) {
    const above = new Float64Array(257);
    for (const value of bytes) above[value] += 1;
    for (let value = 255; value >= 0; value--) above[value] += above[value + 1];
    return above.map(count => count / bytes.length);
  }

  const decoded = element => Uint8Array.from(atob(element.textContent.trim()), c => c.charCodeAt(0));
  const viewers = [];
  const link = document.querySelector(".link-views input");

  function start(root) {
    const given = key => Number(root.dataset[key]);
    const [side, low, high, mean, sigma, width] =
      ["side", "low", "high", "mean", "sigma", "width"].map(given);
    const colour = root.dataset.colour.split(" ").map(Number);
    const bytes = decoded(root.querySelector(".texture")), tint = root.querySelector(".tint");
    const texture = upload(bytes, side), above = volumesAbove(bytes);
    const tinted = tint && upload(decoded(tint), side);
    const stage = root.querySelector(".stage"), slider = root.querySelector(".contour");
    const output = root.querySelector("output");
    const name = slider.getAttribute("aria-label").replace("Contour level of ", "");
    const canvas = document.createElement("canvas"), ink = canvas.getContext("2d");
    const bar = Object.assign(document.createElement("span"), { className: "bar" });
    stage.replaceChildren(canvas, bar);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label",
      `3D surface of ${name}: arrow keys turn it, plus and minus zoom, Home resets the view`);
    root.querySelector(".controls").hidden = false;
    const home = multiply(rotation(1, 0, 0, 0.35), rotation(0, 1, 0, -0.5));
    const floor = (mean - low) / (high - low);
    let pose, zoom, due = 0, settle = 0, level = (given("level") - low) / (high - low);
    slider.min = floor + Math.max(0.02, 0.2 * (level - floor));
    slider.max = 0.99;

    function draw(sharpness) {
      const edge = stage.clientWidth, ratio = window.devicePixelRatio || 1;
      if (!edge) return;
      const pixels = Math.min(1600, Math.round(edge * ratio * sharpness));
      canvas.width = canvas.height = Math.min(pixels, Math.round(edge * ratio));
      if (gl.canvas.width !== pixels) gl.canvas.width = gl.canvas.height = pixels;
      gl.viewport(0, 0, pixels, pixels);
      for (const [unit, data] of [[gl.TEXTURE1, tinted || texture], [gl.TEXTURE0, texture]]) {
        gl.activeTexture(unit);
        gl.bindTexture(gl.TEXTURE_3D, data);
      }
      gl.uniformMatrix3fv(places.turn, false, toMap(pose));
      for (const [key, value] of Object.entries(
        { level, floor, side, extent: SPAN / zoom, tinted: tinted ? 1 : 0 }))
        gl.uniform1f(places[key], value);
      gl.uniform3fv(places.colour, colour);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      ink.imageSmoothingQuality = "high";
      ink.drawImage(gl.canvas, 0, 0, canvas.width, canvas.height);
      const perPixel = width * 2 * SPAN / zoom / edge, length = niceLength(edge / 4 * perPixel);
      bar.textContent = `${length} Å`; bar.style.width = `${length / perPixel}px`;
    }

    // Coarse while it moves, twice as fine as the screen once it rests.
    function redraw() {
      cancelAnimationFrame(due); clearTimeout(settle);
      due = requestAnimationFrame(() => draw(0.8));
      settle = setTimeout(() => draw(2), 160);
    }

    function tell() {
      const density = low + level * (high - low);
      const mass = above[Math.ceil(level * 255)] * width ** 3 * DALTON_PER_CUBIC_ANGSTROM / 1000;
      output.textContent = `${((density - mean) / sigma).toFixed(1)} σ · density ` +
        `${density.toPrecision(3)} · encloses ${mass < 10 ? mass.toFixed(1) : mass.toFixed(0)} kDa`;
    }

    function show(newPose, newZoom) {
      [pose, zoom] = [newPose, Math.min(8, Math.max(0.5, newZoom))];
      redraw();
    }
    viewers.push({ show, width });
    // What a reader does to one map is done to all of them where they are linked, at one scale.
    function move(newPose, newZoom) {
      for (const one of link?.checked ? viewers : [{ show, width }])
        one.show(newPose, newZoom * one.width / width);
    }
    const turnBy = (x, y) =>  // radians, as dragged to the right and down
      move(multiply(rotation(y, x, 0, Math.hypot(x, y)), pose), zoom);
    const zoomBy = factor => move(pose, zoom * factor);
    const reset = () => move(home, 0.86 * SPAN / given("reach"));
    const fingers = new Map();
    const at = event => ({ x: event.clientX, y: event.clientY });
    const spread = ([a, b] = [...fingers.values()]) => Math.hypot(a.x - b.x, a.y - b.y);
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      fingers.set(event.pointerId, at(event));
    });
    canvas.addEventListener("pointermove", event => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const before = fingers.size === 2 ? spread() : 0;
      const now = at(event), scale = 4 / stage.clientWidth;
      fingers.set(event.pointerId, now);
      if (fingers.size === 2) zoomBy(spread() / before);
      else turnBy(scale * (now.x - last.x), scale * (now.y - last.y));
    });
    for (const kind of ["pointerup", "pointercancel"])
      canvas.addEventListener(kind, event => fingers.delete(event.pointerId));
    // A wheel over a picture nobody has clicked on scrolls the page, as readers expect.
    canvas.addEventListener("wheel", event => {
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)));
    }, { passive: false });
    const KEYS = {
      ArrowLeft: () => turnBy(-0.1, 0), ArrowRight: () => turnBy(0.1, 0),
      ArrowUp: () => turnBy(0, -0.1), ArrowDown: () => turnBy(0, 0.1),
      "+": () => zoomBy(1.15), "=": () => zoomBy(1.15), "-": () => zoomBy(1 / 1.15), Home: reset };
    canvas.addEventListener("keydown", event => {
      if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      KEYS[event.key]();
    });
    canvas.addEventListener("dblclick", reset); root.querySelector(".reset").onclick = reset;
    root.querySelector(".save").onclick = () => {
      draw(2);
      Object.assign(document.createElement("a"),
        { download: `${name}.png`, href: canvas.toDataURL("image/png") }).click();
    };
    slider.addEventListener("input", () => { level = Number(slider.value); tell(); redraw(); });
    new ResizeObserver(redraw).observe(stage);
    slider.value = level; tell(); show(home, 0.86 * SPAN / given("reach"));
  }

  document.querySelectorAll(".viewer").forEach(start);
  if (link && viewers.length > 1) link.closest(".link-views").hidden = false;
})();
