// Watches over a question until its answer is there: one at a time, and what is sent meanwhile goes out right after. When the server or
// the network is gone, the danger signs stand in place of the answer (lost.html), the question stays in this tab, and it is asked again
// once there is a connection. `element` comes from gr.HTML.
const ASKED = "backtalk-asked";
const EVERY_MS = 2000;
const UNSTARTED_MS = 20000; // A question that was refused in words never starts.
const find = (selector) => document.querySelector(selector);
const box = () => find("#bt-box textarea");
const isAnswering = () => Boolean(find("#bt-draft :is(.bt-wait, .bt-answer)"));

let waiting = null; // {since, started, timer} of the question under way
let next = false;

// While capturing: Gradio must not hear of a question that has to wait.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === box()) asked(event, box().value);
}, true);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#bt-send, [data-act=option_select], [data-act=retry]");
  if (button) asked(event, button.id ? box().value : (button.dataset.text ?? ""));
}, true);
element.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-again]");
  if (!button) return;
  button.textContent = "Trying…";
  if (!(await comeBack())) setTimeout(() => (button.textContent = "Try again"), 500);
});
addEventListener("online", comeBack);
addEventListener("offline", () => waiting && lose());
new MutationObserver(() => {
  if (!waiting) return;
  if (isAnswering()) waiting.started = true;
  else if (waiting.started) settle();
}).observe(find("#bt-draft"), { childList: true, subtree: true });
resume();

function asked(event, text) {
  if (isAnswering() || element.querySelector(".bt-lost")) {
    event.preventDefault();
    event.stopImmediatePropagation();
    next = isAnswering() && !event.target.closest("[data-act]");
    return;
  }
  if (!text.trim() && !event.target.closest("[data-act]")) return;
  // What was asked by `resume` is not kept again: a question that ends the server must not do so for ever.
  if (event.isTrusted) keep(text);
  clearInterval(waiting?.timer);
  waiting = { since: Date.now(), started: false, timer: setInterval(look, EVERY_MS) };
  look();
}

async function look() {
  if (await isReachable()) {
    if (waiting && !waiting.started && Date.now() - waiting.since > UNSTARTED_MS) settle();
  } else if (waiting) lose();
}

function settle() {
  clearInterval(waiting.timer);
  waiting = null;
  keep(null);
  if (next) sendNext();
  next = false;
}

/** Gradio hears of the next question only once it has done with the one before, which may be a little later. */
function sendNext() {
  const timer = setInterval(() => {
    if (isAnswering() || !box().value.trim()) clearInterval(timer);
    else find("#bt-send").click();
  }, 250);
}

function lose() {
  if (element.querySelector(".bt-lost")) return;
  clearInterval(waiting.timer);
  waiting = { timer: setInterval(comeBack, EVERY_MS) };
  element.append(element.querySelector("template").content.cloneNode(true));
  element.querySelector(".bt-lost").scrollIntoView({ block: "nearest" });
}

/** Begin anew with what the browser kept, if the server can be reached; Gradio does the same when it notices that it lost the server. */
async function comeBack() {
  const back = element.querySelector(".bt-lost") && (await isReachable());
  if (back) location.reload();
  return back;
}

async function isReachable() {
  try {
    return (await fetch("healthz", { cache: "no-store", signal: AbortSignal.timeout(15000) })).ok;
  } catch {
    return false;
  }
}

/** Ask again what was under way when the page went; unless its answer had come. */
function resume() {
  const text = kept();
  if (text === null) return;
  const timer = setInterval(() => {
    if (!box() || box().disabled) return;
    clearInterval(timer);
    keep(null);
    const again = find(".bt-trouble [data-act=retry]");
    const last = [...document.querySelectorAll(".bt-question")].at(-1);
    if (again) again.click();
    else if (text.trim() && !last?.textContent.endsWith(text.trim())) {
      box().value = text;
      box().dispatchEvent(new Event("input", { bubbles: true }));
      sendNext();
    }
  }, 100);
}

function keep(text) {
  try {
    if (text === null) sessionStorage.removeItem(ASKED);
    else sessionStorage.setItem(ASKED, text);
  } catch {
    // Storage is blocked: then a question that was not sent is lost with the page.
  }
}

function kept() {
  try {
    return sessionStorage.getItem(ASKED);
  } catch {
    return null;
  }
}
