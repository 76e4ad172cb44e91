// Keeps the page as the server draws it. The server sends finished markup over one event stream; this puts
// it in place, piece by piece, so that what has not changed stays: a selection, a tooltip, the focus.
"use strict";

// The server says every few seconds that it is there; after this long in silence it is not.
const PATIENCE = 15000;
const AGAIN = 3000;

const state = document.getElementById("state");
const asOf = document.getElementById("as-of");
const graph = document.getElementById("graph");
let stream;
let silence;

/// Makes the children of `shown` those of `fresh`. Elements with an id keep their place in life.
function put(shown, fresh) {
  const known = new Map();
  for (const child of shown.children) if (child.id) known.set(child.id, child);
  let next = shown.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const like = next && !next.id && next.nodeName === wanted.nodeName ? next : undefined;
    const found = wanted.id ? known.get(wanted.id) : like;
    if (!found) {
      shown.insertBefore(wanted, next);
      continue;
    }
    if (found === next) next = next.nextSibling;
    else shown.insertBefore(found, next);
    change(found, wanted);
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

function change(shown, fresh) {
  if (shown.isEqualNode(fresh)) return;
  if (shown.nodeType !== Node.ELEMENT_NODE) {
    shown.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...shown.attributes]) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  put(shown, fresh);
}

function parsed(markup) {
  const template = document.createElement("template");
  template.innerHTML = markup;
  return template.content;
}

/// The server's times, as this place's clocks show them.
function local(within) {
  for (const time of within.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleTimeString();
    time.title = at.toLocaleString();
  }
}

function say(text, mood) {
  if (state.textContent !== text) state.textContent = text;
  state.className = mood;
  graph.classList.toggle("old", mood === "late");
}

function alive() {
  say("Live", "live");
  clearTimeout(silence);
  silence = setTimeout(() => {
    say("Out of date: mesh-api does not answer", "late");
    follow();
  }, PATIENCE);
}

function follow() {
  if (stream) stream.close();
  stream = new EventSource("/graph/events" + location.search);
  for (const part of ["summary", "graph", "table", "happened"]) {
    stream.addEventListener(part, ({ data }) => {
      const fresh = parsed(data);
      local(fresh);
      const target = document.getElementById(part);
      const first = target.firstElementChild;
      put(target, fresh);
      if (part === "happened") {
        for (let item = target.firstElementChild; item && item !== first; item = item.nextElementSibling) item.classList.add("new");
      }
      alive();
    });
  }
  stream.addEventListener("alive", ({ data }) => {
    put(asOf, parsed(data));
    local(asOf);
    alive();
  });
  stream.addEventListener("error", () => {
    say("Out of date: the connection to mesh-api is broken; trying again", "late");
    // A refusal ends the browser's own attempts.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);
  });
}

local(document);
document.querySelector("form").addEventListener("change", (event) => event.currentTarget.requestSubmit());
follow();
