// Shows what is being chosen while it is chosen. Without it the button “Preview” does the same.

const PAUSE = 700;
const form = document.getElementById("style");

// The page that the button would show, of which only the preview and the problems are taken.
async function previewed(signal) {
  const fields = new URLSearchParams(new FormData(form));
  fields.set("do", "preview");
  const answer = await fetch(form.action, { method: "POST", body: fields, signal });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of form.querySelectorAll("[data-part]")) {
    const next = fresh.getElementById(part.id);
    if (!next) return;
    part.hidden = next.hidden;
    if (part.textContent !== next.textContent) part.textContent = next.textContent;
  }
  for (const field of form.querySelectorAll('[aria-describedby*="-problem"]')) {
    const problem = document.getElementById(field.getAttribute("aria-describedby").split(" ")[0]);
    if (problem.hidden) field.removeAttribute("aria-invalid");
    else field.setAttribute("aria-invalid", "true");
  }
  const next = fresh.getElementById("preview");
  // What is being typed may be wrong for a moment; the last preview stays meanwhile.
  if (next.querySelector("article")) show(next);
}

// What was opened stays open.
function show(next) {
  const preview = document.getElementById("preview");
  const open = [...preview.querySelectorAll("details")].map((one) => one.open);
  [...next.querySelectorAll("details")].forEach((one, i) => (one.open = open[i] ?? false));
  preview.replaceChildren(...next.childNodes);
}

let timer = 0;
let under = new AbortController();

form.addEventListener("input", () => {
  clearTimeout(timer);
  under.abort();
  under = new AbortController();
  // A preview that does not come is asked for again with the next change.
  timer = setTimeout(() => previewed(under.signal).catch(() => {}), PAUSE);
});
