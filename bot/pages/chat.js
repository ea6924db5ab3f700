// What the templates cannot do by themselves: tell Gradio which button was pressed, and copy an answer.
// It runs once for the conversation and once for the panel of a source; `element` and `trigger` come from gr.HTML.

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
