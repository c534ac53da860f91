// Keeps pages up to date without a reload, and makes them usable by keyboard. Every page works without it.
"use strict";

const EVERY_MS = 4000;
const READING_MS = 300; // while the page is not whole
let tag = null;

const isReading = () => document.querySelector("[data-reading]") !== null;

// Replace the parts of the page that may change (data-live), but none that somebody is using. A page of which
// nothing was known yet gets all of it, and keeps the notice that it may have.
async function refresh() {
  if ((document.hidden && !isReading()) || !document.querySelector("[data-live], [data-reading]")) return;
  const note = document.getElementById("freshness");
  let text;
  try {
    const answer = await fetch(location.href, { headers: tag ? { "if-none-match": tag } : {} });
    if (answer.status === 304) return;
    if (!answer.ok) throw new Error(String(answer.status));
    tag = answer.headers.get("etag");
    text = await answer.text();
  } catch {
    if (note) note.textContent = "not up to date: the dashboard does not answer";
    return;
  }
  const next = new DOMParser().parseFromString(text, "text/html");
  if (document.getElementById("reading") && !next.getElementById("reading")) {
    const done = document.querySelector("main > [role=status]");
    document.title = next.title;
    document.getElementById("main").replaceChildren(...(done ? [done] : []), ...next.getElementById("main").childNodes);
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = next.getElementById(part.id);
    const inUse = part.contains(document.activeElement) || [...part.querySelectorAll("input[type=text], textarea")].some((field) => field.value !== field.defaultValue);
    if (newer && !inUse) {
      const place = chosenPlace(part);
      part.replaceWith(newer);
      if (place >= 0) choose(items()[place], false);
    }
  }
  const newerNote = next.getElementById("freshness");
  if (note && newerNote) note.textContent = newerNote.textContent;
}

const items = () => [...document.querySelectorAll("[data-item]")];
const chosenPlace = (part) => items().findIndex((item) => part.contains(item) && "chosen" in item.dataset);

function choose(item, scroll = true) {
  for (const other of items()) delete other.dataset.chosen;
  if (!item) return;
  item.dataset.chosen = "";
  if (scroll) item.scrollIntoView({ block: "nearest" });
}

// Choose the next item, or the one before; past the last and before the first, go to the page beside this one.
function step(by) {
  const all = items();
  const place = all.findIndex((item) => "chosen" in item.dataset);
  const beside = document.querySelector(by > 0 ? "a[rel=next]" : "a[rel=prev]");
  if (beside && place === (by > 0 ? all.length - 1 : 0)) {
    location.assign(`${beside.href.split("#")[0]}#${by > 0 ? "first" : "last"}`);
    return;
  }
  choose(all[Math.max(0, Math.min(all.length - 1, place < 0 ? 0 : place + by))]);
}

// An action's key arms its button and opens the reason; Enter in the reason sends the armed action, and no other.
function arm(button) {
  for (const other of button.form.querySelectorAll("button[data-armed]")) delete other.dataset.armed;
  button.dataset.armed = "";
  (button.form.querySelector("input[name=reason]") ?? button).focus();
}

function sendReason(reason) {
  const form = reason.form;
  const button = form.querySelector("button[data-armed]");
  if (button) form.requestSubmit(button);
  else form.querySelector("button[data-key]").focus();
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.key === "Escape") target.blur?.();
  if (event.key === "Enter" && target.matches?.("input[name=reason]")) {
    event.preventDefault();
    sendReason(target);
  }
  if (target.closest?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const chosen = document.querySelector("[data-chosen]");
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  } else if (event.key === "j" || event.key === "k") {
    event.preventDefault();
    step(event.key === "j" ? 1 : -1);
  } else if (event.key === "Enter" && chosen && target === document.body) {
    chosen.querySelector("a")?.click();
  } else if (chosen) {
    const button = chosen.querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
    if (button) { event.preventDefault(); arm(button); }
  }
});

// On a phone the menu scrolls: the present page must be in sight.
document.querySelector("nav.menu [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// Who came here with j or k goes on from the end where they came in.
if (["#first", "#last"].includes(location.hash)) choose(items().at(location.hash === "#first" ? 0 : -1));

async function follow() {
  await refresh();
  setTimeout(follow, isReading() ? READING_MS : EVERY_MS);
}

setTimeout(follow, isReading() ? READING_MS : EVERY_MS);
