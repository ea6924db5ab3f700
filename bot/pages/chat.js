// What the templates cannot do by themselves: tell Gradio which button was pressed, copy an answer, and keep the newest question in view.
// It runs once for the conversation and once for the panel of a source; `element` and `trigger` come from gr.HTML.
const calm = matchMedia("(prefers-reduced-motion: reduce)");

element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (!button) return;
  const { act, ...detail } = button.dataset;
  if (act === "copy") return copy(button);
  if (act === "select") {
    for (const mark of element.querySelectorAll(".bt-mark")) mark.setAttribute("aria-expanded", String(mark === button));
  }
  trigger(act, detail);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) element.querySelector(".bt-close")?.click();
});

async function copy(button) {
  const label = button.querySelector("span");
  const words = button.closest(".bt-answer").querySelector(".bt-words").cloneNode(true);
  words.querySelector(".bt-away")?.remove();
  for (const mark of words.querySelectorAll(".bt-mark")) mark.replaceWith(`[${mark.textContent}]`);
  for (const block of words.querySelectorAll("p, li")) block.append("\n");
  try {
    await navigator.clipboard.writeText(words.textContent.replaceAll("\u00a0", " ").trim());
    label.textContent = "Copied";
  } catch {
    label.textContent = "Copying is not allowed here";
  }
  setTimeout(() => (label.textContent = "Copy"), 2000);
}

// What sticks to the top covers that much of what is scrolled to.
const header = document.querySelector("#bt-top");
new ResizeObserver(() => {
  const height = header.querySelector(".bt-banner") ? `${header.offsetHeight}px` : "0px";
  document.documentElement.style.setProperty("--bt-top", height);
}).observe(header);

let seen = element.querySelectorAll(".bt-exchange").length;
let loaded = false;
new MutationObserver(() => {
  const exchanges = element.querySelectorAll(".bt-exchange");
  if (exchanges.length > seen && loaded) {
    exchanges[exchanges.length - 1].scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
  }
  loaded = true;
  seen = exchanges.length;
}).observe(element, { childList: true, subtree: true });
