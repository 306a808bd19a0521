"use strict";

// What a dot says, shown while it is pointed at or has the focus.
const tip = document.getElementById("tip");
let shown = null;

function show(dot) {
  hide();
  shown = dot;
  dot.classList.add("shown");
  tip.textContent = dot.getAttribute("aria-label");
  tip.hidden = false;
  const at = dot.querySelector(".hit").getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = Math.min(at.right + 6, width - tip.offsetWidth - 8);
  const above = at.top - tip.offsetHeight - 4;
  tip.style.left = Math.max(8, left) + scrollX + "px";
  tip.style.top = (above > 0 ? above : at.bottom + 4) + scrollY + "px";
}

function hide() {
  if (shown) shown.classList.remove("shown");
  shown = null;
  tip.hidden = true;
}

document.addEventListener("pointerover", (event) => {
  const dot = event.target.closest(".dot");
  if (dot) show(dot);
  else if (!document.activeElement.matches(".dot")) hide();
});
document.addEventListener("pointerdown", (event) => {
  const dot = event.target.closest(".dot");
  if (dot) show(dot);
  else hide();
});
document.addEventListener("focusin", (event) => {
  if (event.target.matches(".dot")) show(event.target);
  else hide();
});

// A chart is one stop of the tab key; arrow keys walk from dot to dot, cheapest first.
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  if (!event.target.matches(".dot")) return;
  const dots = [...event.target.closest(".plot").querySelectorAll(".dot")];
  const i = dots.indexOf(event.target);
  const next = {
    ArrowLeft: i - 1, ArrowDown: i - 1, ArrowRight: i + 1, ArrowUp: i + 1,
    Home: 0, End: dots.length - 1,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const dot = dots[Math.min(Math.max(next, 0), dots.length - 1)];
  event.target.tabIndex = -1;
  dot.tabIndex = 0;
  dot.focus();
});

// Tables: a click on a heading sorts, another one turns the order round.
function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return cell.classList.contains("number") ? (text === "" ? NaN : Number(text)) : text;
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
}

for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!event.target.closest("button")) return;
    const column = heads.indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => {
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // unknown: last
      return down ? compare(b, a) : compare(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}

// A filter: rows that hold all of its words.
for (const input of document.querySelectorAll("[data-filters]")) {
  const rows = document.getElementById(input.dataset.filters).tBodies[0].rows;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
