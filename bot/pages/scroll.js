// Keeps the newest question in view: at the top of the screen, below what sticks there. `element` is the conversation.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const talk = document.querySelector("#bt-talk");
const header = document.querySelector("#bt-top");
let seen = element.querySelectorAll(".bt-exchange").length;
let loaded = false;
let asked = false; // on this visit: a conversation that comes back is not moved

new MutationObserver(() => {
  const count = element.querySelectorAll(".bt-exchange").length;
  asked = count > 0 && (asked || (loaded && count > seen));
  if (!count) talk.style.minHeight = "";
  else if (loaded && count > seen) show();
  loaded = true;
  seen = count;
}).observe(element, { childList: true, subtree: true });

// The alert covers that much of what is scrolled to.
new ResizeObserver(() => {
  const height = header.querySelector(".bt-banner") ? header.offsetHeight : 0;
  document.documentElement.style.setProperty("--bt-top", `${height}px`);
  if (asked) show();
}).observe(header);

function show() {
  const question = [...element.querySelectorAll(".bt-exchange")].at(-1);
  const above = question.getBoundingClientRect().top - talk.getBoundingClientRect().top;
  // Where the answer is short, room is made below it.
  talk.style.minHeight = `calc(${above}px + 100vh - var(--bt-top, 0px))`;
  question.scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
}
