// Keeps the parts marked with data-live fresh. Without it every page works, by reloading.

const BUSY = 3000;
const IDLE = 30000;

// What ?said= asked for has been said; a reload shall tell only what is so now.
const here = new URL(location.href);
here.searchParams.delete("said");
history.replaceState(null, "", here);

function inUse(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

// What was said of a button is over when the page has moved on.
function hush() {
  for (const said of document.querySelectorAll("[data-said]")) said.remove();
}

async function refresh() {
  const answer = await fetch(here);
  if (!answer.ok) throw new Error(answer.status);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!fresh.querySelector("[data-live]")) location.reload();
  if (!fresh.body.hasAttribute("data-busy")) hush();
  document.body.toggleAttribute("data-busy", fresh.body.hasAttribute("data-busy"));
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (!next || next.innerHTML === part.innerHTML || inUse(part)) continue;
    // The element itself stays: screen readers only announce changes inside one they know.
    part.className = next.className;
    part.replaceChildren(...next.childNodes);
  }
}

let timer = 0;
let failures = 0;

function note(failed) {
  failures = failed ? failures + 1 : 0;
  document.getElementById("offline").hidden = failures < 2;
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(tick, document.body.hasAttribute("data-busy") ? BUSY : IDLE);
}

async function tick() {
  if (document.visibilityState === "visible") {
    await refresh().then(() => note(false), () => note(true));
  }
  later();
}

if (document.querySelector("[data-live]")) later();
