"use strict";
// Ball-and-stick view on a 2D canvas: drag to turn, wheel to zoom; forces as arrows.
function Viewer(canvas) {
  let data = null, scale = 1, show = { reference: true, predicted: true };
  let turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const context = canvas.getContext("2d");
  const times = (a, b) => a.map(row => [0, 1, 2].map(k => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k]));
  const apply = v => turn.map(row => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
  const shade = (hex, f) => "rgb(" + [1, 3, 5].map(k => Math.round(Math.min(255, f * parseInt(hex.slice(k, k + 2), 16)))) + ")";

  function bonds(d) {
    const found = [];
    for (let i = 0; i < d.positions.length; i++)
      for (let j = 0; j < i; j++) {
        const r = Math.hypot(...[0, 1, 2].map(k => d.positions[i][k] - d.positions[j][k]));
        if (r < 1.25 * (d.radii[i] + d.radii[j])) found.push([i, j]);
      }
    return found;
  }

  function fit() {
    const reach = Math.max(...data.positions.map(p => Math.hypot(...p))) + 1.2;
    scale = 0.5 * Math.min(canvas.clientWidth, canvas.clientHeight) / reach;
  }

  function arrow(from, to, colour, width) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    if (length < 2) return;
    const u = [(to[0] - from[0]) / length, (to[1] - from[1]) / length], head = Math.min(7 + width, 0.5 * length);
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.lineTo(to[0] - head * u[0], to[1] - head * u[1]);
    context.stroke();
    context.beginPath();
    context.moveTo(to[0], to[1]);
    context.lineTo(to[0] - head * u[0] - 0.4 * head * u[1], to[1] - head * u[1] + 0.4 * head * u[0]);
    context.lineTo(to[0] - head * u[0] + 0.4 * head * u[1], to[1] - head * u[1] - 0.4 * head * u[0]);
    context.fill();
  }

  function draw() {
    if (!data) return;
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.setTransform(ratio, 0, 0, ratio, width * ratio / 2, height * ratio / 2);
    context.clearRect(-width, -height, 2 * width, 2 * height);
    const points = data.positions.map(apply);
    const flat = p => [scale * p[0], -scale * p[1]];
    const depth = z => 0.8 + 0.2 * Math.max(-1, Math.min(1, z / 5));
    const parts = points.map((p, i) => ({ z: p[2], atom: i }));
    for (const [i, j] of data.bonds) parts.push({ z: (points[i][2] + points[j][2]) / 2 - 0.05, bond: [i, j] });
    parts.sort((a, b) => a.z - b.z);
    for (const part of parts) {
      if (part.bond) {
        const [i, j] = part.bond, a = flat(points[i]), b = flat(points[j]);
        const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
        context.lineCap = "round";
        for (const [from, width_, pick] of [[a, 0.2, i], [b, 0.2, j]]) {
          context.strokeStyle = shade(data.colours[pick], 0.75 * depth(part.z));
          context.lineWidth = width_ * scale;
          context.beginPath();
          context.moveTo(from[0], from[1]);
          context.lineTo(middle[0], middle[1]);
          context.stroke();
        }
      } else {
        const i = part.atom, c = flat(points[i]), radius = scale * (0.16 + 0.24 * data.radii[i]);
        const ball = context.createRadialGradient(c[0] - 0.3 * radius, c[1] - 0.3 * radius, 0.1 * radius, c[0], c[1], radius);
        ball.addColorStop(0, shade(data.colours[i], 1.25));
        ball.addColorStop(1, shade(data.colours[i], 0.65 * depth(part.z)));
        context.fillStyle = ball;
        context.beginPath();
        context.arc(c[0], c[1], radius, 0, 2 * Math.PI);
        context.fill();
        if (i === data.largest_error_atom) {
          context.strokeStyle = "#8e24aa";
          context.lineWidth = 3;
          context.stroke();
        }
      }
    }
    // The longest arrow of the structure is 1.8 Å long.
    const all = data.reference.concat(data.predicted), top = Math.max(1e-9, ...all.map(f => Math.hypot(...f)));
    for (const [name, colour, width_] of [["reference", "#3a8f5c", 4.5], ["predicted", "#d9772b", 1.8]])
      if (show[name])
        data[name].forEach((f, i) => {
          const g = apply(f), p = points[i];
          arrow(flat(p), flat([0, 1, 2].map(k => p[k] + 1.8 * g[k] / top)), colour, width_);
        });
  }

  let last = null;
  canvas.addEventListener("pointerdown", e => { last = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointermove", e => {
    if (!last) return;
    const [a, b] = [0.01 * (e.clientX - last[0]), 0.01 * (e.clientY - last[1])];
    last = [e.clientX, e.clientY];
    const about_y = [[Math.cos(a), 0, Math.sin(a)], [0, 1, 0], [-Math.sin(a), 0, Math.cos(a)]];
    const about_x = [[1, 0, 0], [0, Math.cos(b), -Math.sin(b)], [0, Math.sin(b), Math.cos(b)]];
    turn = times(about_x, times(about_y, turn));
    draw();
  });
  canvas.addEventListener("wheel", e => { e.preventDefault(); scale *= Math.exp(-0.001 * e.deltaY); draw(); }, { passive: false });
  window.addEventListener("resize", draw);

  return {
    load(structure) { data = Object.assign({ bonds: bonds(structure) }, structure); fit(); draw(); },
    toggle(name, on) { show[name] = on; draw(); },
  };
}

for (const box of document.querySelectorAll(".worst")) {
  const structures = JSON.parse(box.querySelector("script").textContent);
  const viewer = Viewer(box.querySelector("canvas"));
  const rows = box.querySelectorAll("tbody tr");
  const choose = k => {
    rows.forEach((row, i) => row.classList.toggle("chosen", i === k));
    viewer.load(structures[k]);
  };
  rows.forEach((row, k) => {
    row.addEventListener("click", () => choose(k));
    row.addEventListener("keydown", e => { if (e.key === "Enter") choose(k); });
  });
  for (const input of box.querySelectorAll("input"))
    input.addEventListener("change", () => viewer.toggle(input.name, input.checked));
  if (structures.length) choose(0);
}
