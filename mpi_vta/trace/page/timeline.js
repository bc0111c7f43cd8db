"use strict";
(() => {
  const run = JSON.parse(document.getElementById("run-data").textContent);
  const canvas = document.getElementById("timeline");
  const context = canvas.getContext("2d");
  const range = document.getElementById("range");
  const detail = document.getElementById("detail");
  const arrows = document.getElementById("arrows");
  const ROW = 64, TOP = 6, AXIS = 26, MOST_ARROWS = 400;
  // by kind of event: name, colour, top and height in the row
  const LANES = [
    ["VTA", "#0072B2", 4, 28],
    ["processor", "#F0E442", 34, 7],
    ["send", "#E69F00", 50, 7],
    ["receive", "#009E73", 42, 7],
  ];
  const LABEL = 62;
  let low = run.begin_ns, high = run.end_ns, chosen = null;

  const unitOf = (ns) => (ns >= 2e9 ? ["s", 1e9] : ns >= 2e6 ? ["ms", 1e6] : ["µs", 1e3]);
  const digits = (value) => Number(value.toPrecision(6)).toString();
  const text = (ns, span) => { const [name, size] = unitOf(span); return digits(ns / size) + " " + name; };
  const width = () => canvas.clientWidth - LABEL;
  const xOf = (ns) => LABEL + ((ns - low) / (high - low)) * width();
  const nsOf = (x) => low + ((x - LABEL) / width()) * (high - low);

  function show(from, to) {
    const span = Math.min(Math.max(to - from, 20), run.end_ns - run.begin_ns);
    low = Math.min(Math.max(from, run.begin_ns), run.end_ns - span);
    high = low + span;
    draw();
  }

  function zoom(factor, at) {
    const middle = at === undefined ? (low + high) / 2 : at;
    show(middle - (middle - low) * factor, middle + (high - middle) * factor);
  }

  // events of a rank are ordered by start; none is longer than the rank's longest
  function firstVisible(events, longest) {
    let left = 0, right = events.length;
    while (left < right) {
      const middle = (left + right) >> 1;
      if (events[middle][1] < low - longest) left = middle + 1; else right = middle;
    }
    return left;
  }

  function visible(row, each) {
    const { events, longest_ns } = run.ranks[row];
    for (let i = firstVisible(events, longest_ns); i < events.length && events[i][1] < high; i++) {
      if (events[i][2] > low) each(events[i]);
    }
  }

  function drawRow(row) {
    const top = TOP + row * ROW;
    context.fillStyle = row % 2 ? "#f6f6f6" : "#fff";
    context.fillRect(LABEL, top, width(), ROW);
    visible(row, (event) => {
      const lane = LANES[event[0]];
      const left = Math.max(xOf(event[1]), LABEL), right = Math.min(xOf(event[2]), LABEL + width());
      context.fillStyle = lane[1];
      context.fillRect(left, top + lane[2], Math.max(right - left, 1), lane[3]);
      if (event[0] === 0 && right - left > 4) {
        // launches that touch stay apart
        context.strokeStyle = "#fff";
        context.lineWidth = 1;
        context.strokeRect(left, top + lane[2], right - left, lane[3]);
      }
      if (event === chosen) {
        context.strokeStyle = "#D55E00";
        context.lineWidth = 3;
        context.strokeRect(left, top + lane[2], Math.max(right - left, 1), lane[3]);
      }
      if (event[0] === 0 && right - left > 9 * (String(event[4]).length + 1)) {
        context.fillStyle = "#fff";
        context.textAlign = "center";
        context.fillText(event[4], (left + right) / 2, top + lane[2] + lane[3] / 2 + 4);
      }
    });
    context.fillStyle = "#111";
    context.textAlign = "left";
    context.fillText("rank " + run.ranks[row].rank, 2, top + 22);
  }

  function drawArrows() {
    const seen = run.messages.filter((m) => m[1] > low && m[0] < high);
    context.strokeStyle = context.fillStyle = "rgba(0,0,0,0.55)";
    context.lineWidth = 1;
    for (const [sent, usable, from, to] of seen.slice(0, MOST_ARROWS)) {
      const x0 = xOf(sent), x1 = xOf(usable);
      const y0 = TOP + from * ROW + 53, y1 = TOP + to * ROW + 45;
      const angle = Math.atan2(y1 - y0, x1 - x0);
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
      context.beginPath();
      context.moveTo(x1, y1);
      context.lineTo(x1 - 7 * Math.cos(angle - 0.4), y1 - 7 * Math.sin(angle - 0.4));
      context.lineTo(x1 - 7 * Math.cos(angle + 0.4), y1 - 7 * Math.sin(angle + 0.4));
      context.fill();
    }
  }

  function drawAxis() {
    const [name, size] = unitOf(high);
    const wanted = (high - low) / Math.max(2, width() / 110) / size;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= wanted) * size;
    const bottom = TOP + run.ranks.length * ROW;
    context.strokeStyle = "#999";
    context.fillStyle = "#111";
    context.textAlign = "center";
    context.lineWidth = 1;
    for (let at = Math.ceil(low / step) * step; at <= high; at += step) {
      const x = xOf(at);
      context.beginPath();
      context.moveTo(x, bottom);
      context.lineTo(x, bottom + 5);
      context.stroke();
      if (x > LABEL + 20 && x < LABEL + width() - 24) context.fillText(digits(at / size) + " " + name, x, bottom + 18);
    }
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    const height = TOP + run.ranks.length * ROW + AXIS;
    canvas.style.height = height + "px";
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(height * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.font = "12px system-ui, sans-serif";
    run.ranks.forEach((_, row) => drawRow(row));
    context.save();
    context.beginPath();
    context.rect(LABEL, 0, width(), height - AXIS);
    context.clip();
    if (arrows.checked) drawArrows();
    context.restore();
    drawAxis();
    range.value = text(low, high) + " to " + text(high, high) + " (" + run.time + ")";
  }

  function choose(x, y) {
    const row = Math.floor((y - TOP) / ROW);
    chosen = null;
    if (run.ranks[row]) {
      const inside = y - TOP - row * ROW, ns = nsOf(x), slack = (3 * (high - low)) / width();
      let best = Infinity;
      visible(row, (event) => {
        const lane = LANES[event[0]];
        const away = Math.max(lane[2] - inside, inside - lane[2] - lane[3], 0);
        if (event[1] - slack <= ns && ns <= event[2] + slack && away < Math.min(best, 6)) {
          best = away;
          chosen = event;
        }
      });
    }
    detail.value = chosen ? describe(run.ranks[row].rank, chosen) : "No bar chosen.";
    draw();
  }

  function describe(rank, [kind, start, end, stage, image, peer, bytes]) {
    const parts = ["rank " + rank, LANES[kind][0], "image " + image, "stage " + run.stages[stage]];
    if (peer >= 0) parts.push((kind === 2 ? "to rank " : "from rank ") + peer, bytes.toLocaleString("en") + " bytes");
    return parts.join(", ") + ": from " + text(start, end) + " for " + text(end - start, end - start);
  }

  const pointers = new Map();
  let moved = 0;
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!pointers.size) moved = 0;
    pointers.set(event.pointerId, place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    const other = [...pointers.entries()].find(([id]) => id !== event.pointerId);
    if (other) {
      const apart = Math.abs(before[0] - other[1][0]), wider = Math.abs(now[0] - other[1][0]);
      moved += 10;
      if (apart > 8 && wider > 8) zoom(apart / wider, nsOf((now[0] + other[1][0]) / 2));
    } else {
      const by = ((before[0] - now[0]) / width()) * (high - low);
      moved += Math.abs(before[0] - now[0]) + Math.abs(before[1] - now[1]);
      show(low + by, high + by);
    }
    pointers.set(event.pointerId, now);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (moved < 5 && pointers.size === 1) choose(...place(event));
    pointers.delete(event.pointerId);
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, nsOf(place(event)[0]));
  }, { passive: false });
  const by = (share) => () => show(low + share * (high - low), high + share * (high - low));
  const actions = {
    "zoom-in": () => zoom(0.5),
    "zoom-out": () => zoom(2),
    "zoom-all": () => show(run.begin_ns, run.end_ns),
    earlier: by(-0.4),
    later: by(0.4),
  };
  for (const [id, action] of Object.entries(actions)) document.getElementById(id).addEventListener("click", action);
  const keys = { "+": "zoom-in", "-": "zoom-out", ArrowLeft: "earlier", ArrowRight: "later", 0: "zoom-all" };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  arrows.addEventListener("change", draw);
  window.addEventListener("resize", draw);
  show(run.window_ns[0], run.window_ns[1]);
})();
