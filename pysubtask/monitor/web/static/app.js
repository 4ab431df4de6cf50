// What the pages do by themselves: one stream of events, ages that tick, the map. No dependencies.
"use strict";

const body = document.body;
const client = body.dataset.client || "";
let known = Number(body.dataset.known || 0);
let skew = Number(body.dataset.at || Date.now() / 1000) - Date.now() / 1000;

// --- ages

function words(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    const count = Math.floor(left / size);
    left %= size;
    if (count) parts.push(`${count} ${unit}`);
    else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0 s";
}

function tick() {
  const now = Date.now() / 1000 + skew;
  for (const one of document.querySelectorAll("time[data-since]")) {
    const text = words(now - Number(one.dataset.since));
    if (one.textContent !== text) one.textContent = text;
  }
  // a connection may die without a word: the machine slept, or a router forgot it
  if (source && Date.now() - heardAt > 45000) {
    say("· no news from the monitor: what you see may be old", true);
    deafen();
    listen();
  }
}
let heardAt = Date.now();
setInterval(tick, 1000);

// --- the stream: closed while nobody looks, caught up with when somebody does

let source = null;
let refreshAt = 0;
let refreshTimer = null;

function say(text, stale) {
  const place = document.getElementById("live-state");
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.classList.toggle("stale", Boolean(stale));
}

function refresh(name, soon) {
  // at most one a second at once, the rest together; beats alone move nothing but ages
  const wait = Math.max(soon ? 0 : 10000, refreshAt + 1000 - Date.now());
  if (refreshTimer !== null) {
    if (!soon) return;
    clearTimeout(refreshTimer);
  }
  refreshTimer = setTimeout(() => {
    refreshTimer = null;
    refreshAt = Date.now();
    body.dispatchEvent(new Event(name));
  }, Math.max(0, wait));
}

function heard(event) {
  const facts = JSON.parse(event.data);
  heardAt = Date.now();
  known = facts.n;
  skew = facts.at - Date.now() / 1000;
  say(facts.blind ? "· blind" : "· live", Boolean(facts.blind));
  if (client) {
    if (facts.mine || facts.all) refresh("client-changed", true);
    return;
  }
  if (map) {
    if (facts.all) map.load();
    else map.change(facts.rows, facts.n);
  }
  const soon = facts.all || facts.rows.length > 0 || facts.blind !== lastBlind;
  lastBlind = facts.blind;
  if (soon || facts.beats) refresh("fleet-changed", soon);
}
let lastBlind = null;

function listen() {
  if (source || document.hidden) return;
  source = new EventSource(`/events?known=${known}&client=${encodeURIComponent(client)}`);
  heardAt = Date.now();
  source.addEventListener("fleet", heard);
  source.addEventListener("alive", () => { heardAt = Date.now(); });
  source.onopen = () => {
    heardAt = Date.now();
    if (!lastBlind) say("· live", false);
  };
  source.onerror = () => {
    say("· no connection to the monitor: what you see may be old", true);
    if (source && source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(listen, 5000);
    }
  };
}

function deafen() {
  if (source) source.close();
  source = null;
}

// --- the map

const STATES = ["down", "late", "unknown", "new", "gone", "up", "paused", "stopped", "archived"];

class FleetMap {
  constructor(canvas, note) {
    this.canvas = canvas;
    this.note = note;
    this.ids = [];
    this.chosen = -1;
    this.place = new Map();
    this.turn = 0;
    this.news = null; // what is heard while the whole is on its way
    canvas.addEventListener("mousemove", (event) => this.choose(this.at(event)));
    canvas.addEventListener("mouseleave", () => this.choose(-1));
    canvas.addEventListener("click", (event) => this.open(this.at(event)));
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.load();
  }

  async load() {
    const turn = this.turn += 1; // of several answers the one that was asked for last counts
    this.news = this.news || [];
    let facts = null;
    try {
      const answer = await fetch("/map.json");
      if (answer.ok) facts = await answer.json();
    } catch {
      // no connection: the stream says so, and asks again
    }
    if (turn !== this.turn) return;
    const news = this.news;
    this.news = null;
    if (facts === null) return;
    const keep = [...facts.ids.keys()].filter((index) => STATES[facts.states[index]] !== "archived");
    this.ids = keep.map((index) => facts.ids[index]);
    this.names = keep.map((index) => facts.names[index]);
    this.states = keep.map((index) => facts.states[index]);
    this.flags = keep.map((index) => facts.flags[index]);
    this.place = new Map(this.ids.map((id, index) => [id, index]));
    for (const [number, rows] of news) if (number > facts.n) this.take(rows);
    this.draw();
    this.canvas.dataset.drawn = String(this.ids.length);
    this.canvas.dataset.at = String(Math.round(performance.now()));
  }

  change(rows, number) {
    if (this.news !== null) this.news.push([number, rows]);
    for (const index of this.take(rows)) this.tile(index);
  }

  // Gives the places of those that are on the map.
  take(rows) {
    const places = [];
    for (const [id, state, flag] of rows) {
      const index = this.place.get(id);
      if (index === undefined) continue;
      this.states[index] = state;
      this.flags[index] = flag;
      places.push(index);
    }
    return places;
  }

  draw() {
    const width = this.canvas.parentElement.clientWidth;
    const count = Math.max(1, this.ids.length);
    let size = Math.floor(Math.sqrt((width * 220) / count));
    size = Math.max(3, Math.min(22, size));
    this.columns = Math.max(1, Math.floor(width / size));
    this.size = size;
    const height = Math.ceil(count / this.columns) * size;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    this.canvas.style.height = `${height}px`;
    this.pen = this.canvas.getContext("2d");
    this.pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = STATES.map((state) =>
      ["up", "late", "down", "unknown"].includes(state) ? colour(state) : colour("other"));
    this.ground = colour("ground");
    this.text = colour("text");
    for (let index = 0; index < this.ids.length; index += 1) this.tile(index);
  }

  // Each state has its own shape: full, half, crossed, hatched, ring, dot.
  tile(index) {
    const { pen, size } = this;
    const x = (index % this.columns) * size;
    const y = Math.floor(index / this.columns) * size;
    const gap = size > 5 ? 1 : 0.5;
    const edge = size - gap;
    const state = STATES[this.states[index]];
    pen.fillStyle = this.ground;
    pen.fillRect(x, y, size, size);
    pen.fillStyle = pen.strokeStyle = this.colours[this.states[index]];
    pen.lineWidth = Math.max(1, size / 8);
    if (state === "up") pen.fillRect(x, y, edge, edge);
    else if (state === "late") {
      pen.fillRect(x, y + edge / 2, edge, edge / 2);
      pen.strokeRect(x + 0.5, y + 0.5, edge - 1, edge - 1);
    } else if (state === "down") {
      pen.fillRect(x, y, edge, edge);
      if (size > 5) {
        pen.strokeStyle = this.ground;
        pen.beginPath();
        pen.moveTo(x + 2, y + 2);
        pen.lineTo(x + edge - 2, y + edge - 2);
        pen.moveTo(x + edge - 2, y + 2);
        pen.lineTo(x + 2, y + edge - 2);
        pen.stroke();
      }
    } else if (state === "unknown") {
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, y + 0.5, edge - 1, edge - 1);
      pen.beginPath();
      for (let step = 2; step <= edge * 2; step += Math.max(3, size / 4)) {
        pen.moveTo(x + Math.max(0, step - edge), y + Math.min(step, edge));
        pen.lineTo(x + Math.min(step, edge), y + Math.max(0, step - edge));
      }
      pen.stroke();
    } else if (state === "stopped" || state === "paused") {
      pen.fillRect(x + size / 3, y + size / 3, edge / 2.5, edge / 2.5);
    } else pen.strokeRect(x + 0.5, y + 0.5, edge - 1, edge - 1);
    if (this.flags[index] && size > 7) {
      pen.fillStyle = this.text;
      pen.beginPath();
      pen.moveTo(x + edge, y);
      pen.lineTo(x + edge, y + size / 2.5);
      pen.lineTo(x + edge - size / 2.5, y);
      pen.fill();
    }
    if (index === this.chosen) {
      pen.strokeStyle = this.text;
      pen.lineWidth = 2;
      pen.strokeRect(x + 1, y + 1, edge - 2, edge - 2);
    }
  }

  at(event) {
    const place = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - place.left) / this.size);
    const row = Math.floor((event.clientY - place.top) / this.size);
    const index = row * this.columns + column;
    return column < this.columns && index < this.ids.length ? index : -1;
  }

  choose(index) {
    if (index === this.chosen) return;
    const before = this.chosen;
    this.chosen = index;
    if (before >= 0) this.tile(before);
    if (index >= 0) this.tile(index);
    this.note.textContent = index < 0 ? "Each tile is a client, by name."
      : `${this.names[index]}: ${STATES[this.states[index]]}${this.flags[index] ? ", flagged" : ""}`;
  }

  open(index) {
    if (index >= 0) location.href = `/clients/${this.ids[index]}`;
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns };
    const last = this.ids.length - 1;
    let index = this.chosen;
    if (event.key in steps) index = index < 0 ? 0 : index + steps[event.key];
    else if (event.key === "Home") index = 0;
    else if (event.key === "End") index = last;
    else if (event.key === "Enter") return this.open(this.chosen);
    else return undefined;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, index)));
    return undefined;
  }
}

const canvas = document.getElementById("map");
const map = canvas ? new FleetMap(canvas, document.getElementById("map-note")) : null;

// --- small things

document.addEventListener("keydown", (event) => {
  const box = document.getElementById("q");
  if (event.key === "/" && box && !["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) {
    event.preventDefault();
    box.focus();
  }
});

document.addEventListener("visibilitychange", () => (document.hidden ? deafen() : listen()));
window.addEventListener("pagehide", deafen);
listen();
