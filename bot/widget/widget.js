/**
 * Backtalk's support widget: the whole of it, no build and no dependency. One tag puts it on a page:
 *
 *   <script src="https://HOST/widget.js" defer></script>
 *
 * Settings, all optional, as attributes of that tag: data-title, data-greeting, data-topic ("Ask about …"), data-starters (questions
 * split by |), data-topics (running exercise …: answer from these topics of /kb only; what is urgent is said whatever they are),
 * data-position (right | left), data-accent (a CSS colour), data-theme (auto | light | dark), data-region (GB, IE, US …), data-lang (the
 * language of the frame, one of bot/widget/languages.yaml), data-open (true), data-z-index, data-key (sent as a bearer token).
 *
 * Handle: Backtalk.open(), .close(), .ask(question), .destroy(), .mount(settings). Events on document, never with words of a message:
 * backtalk:open, backtalk:close, backtalk:question, backtalk:answer {outcome, level, citations}, backtalk:citation {n},
 * backtalk:feedback {rating}, backtalk:error {reason}.
 *
 * A strict Content-Security-Policy needs two directives: `script-src https://HOST` and `connect-src https://HOST`. Nothing else: styles
 * are constructed, icons are drawn, no font, image or frame is loaded, Trusted Types may be enforced. HOST must list the page's origin in
 * BACKTALK_ALLOWED_ORIGINS. No cookie; the conversation stays in sessionStorage, for this tab. All text is set as text, never as HTML.
 */
(() => {
  "use strict";
  if (window.Backtalk) return;

  // The server writes the safety policy in here when it serves this file (bot/widget/router.py), so that the danger signs and the
  // numbers to call are at hand even when the server is not. No number stands in this file.
  const POLICY = /* policy */ null;

  const script = document.currentScript ?? document.querySelector('script[src*="widget.js"]');
  const BASE = new URL(".", script.src).href;
  const STORE = `backtalk:${BASE}`;
  const MAX_CHARACTERS = 8000;
  const MAX_MESSAGES = 200;
  const SILENCE_MS = 45_000;
  // The words of the frame; another language's take their place when it is asked for.
  const ENGLISH = {
    title: "Ask about your back",
    greeting: "Hello. Ask me about back pain or running. Every answer shows where it comes from.",
    ask: "Ask about back pain and running",
    question: "Your question",
    send: "Send",
    fresh: "New conversation",
    close: "Close",
    talk: "Conversation",
    log: "Messages",
    note: "Information, not a diagnosis.",
    articles: "All articles",
    numbers: "Phone numbers for ",
    tab: " (opens in a new tab)",
    you: "You: ",
    source: "Source {n}",
    hide: "Close source",
    evidence: "Evidence: {grade}.",
    checked: "Checked {date}.",
    examples: "For example:",
    more: "You could also ask:",
    helpful: "Was this helpful?",
    good: "Yes, helpful",
    bad: "No, not helpful",
    thanks: "Thank you.",
    unsent: "That could not be sent.",
    first: "Please read this first",
    again: "Try again",
    looking: "Looking through the articles.",
    online: "You are back online.",
    offline: "You are offline.",
    begun: "A new conversation.",
    cut: "Your last question has not been answered.",
    refused: "That could not be sent: {why}.",
    shorten: "please shorten it",
    denied: "This site may not use the chat.",
    busy: "Too many questions just now. Please wait a minute.",
    away: "You are offline, so there is no answer yet.",
    down: "There is no answer just now.",
  };
  let words = ENGLISH;
  const DEFAULTS = {
    starters: "Is running bad for my back?|Which exercises help low back pain?|When is back pain an emergency?",
    position: "right",
    accent: "#0b5c4a",
    theme: "auto",
    zIndex: "2147483000",
    lang: "en",
  };
  const ICONS = {
    chat: "M4 5h16v11H9l-5 4z",
    close: "M6 6l12 12M18 6L6 18",
    fresh: "M12 5v14M5 12h14",
    send: "M5 12h13M12 5l7 7-7 7",
    emergency: "M12 3l10 18H2zM12 10v5M12 17.6v.4",
    urgent: "M12 3l10 18H2zM12 10v5M12 17.6v.4",
    see_doctor: "M12 2.5a9.5 9.5 0 100 19 9.5 9.5 0 000-19zM12 7v6M12 16.2v.4",
    up: "M7 11v9H3v-9zM7 11l4-8c2 0 3 1 2.5 3.500L13 10h6.5c1 0 1.7 1 1.5 2l-1.5 7c-.2.7-.8 1-1.5 1H7",
    down: "M17 13V4h4v9zM17 13l-4 8c-2 0-3-1-2.5-3.500L11 14H4.5c-1 0-1.7-1-1.5-2l1.5-7c.2-.7.8-1 1.5-1H17",
  };

  // What the page sees of the look: nothing. The first rule also beats a page's own `* { … !important }`.
  const DARK = `--bg:#141c1a; --ink:#e9efec; --soft:#a8b8b2; --line:#33433e; --raised:#1d2825; --link:#86dcc3;
    --stop:#ffb4ab; --stop-bg:#43120e; --warn:#ffc878; --warn-bg:#3a2600; --info:#a9cdfa; --info-bg:#10294a; --edge:#ffffff59; color-scheme:dark;`;
  const STYLE = `
    :host { all: initial !important; display: contents !important; }
    *, *::before, *::after { box-sizing: border-box; }
    [hidden] { display: none !important; }
    .root { --bg:#fff; --ink:#172b27; --soft:#4f625d; --line:#d3dcd8; --raised:#f3f6f4; --link:#0b5c4a;
      --stop:#a3120b; --stop-bg:#fdecea; --warn:#7a4300; --warn-bg:#fff3df; --info:#134f91; --info-bg:#eaf2fc; --edge:transparent; color-scheme:light;
      font: medium/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); text-align: start;
      position: fixed; z-index: var(--z); bottom: max(20px, env(safe-area-inset-bottom)); right: 20px; }
    .root.left { right: auto; left: 20px; }
    .root.dark { ${DARK} }
    @media (prefers-color-scheme: dark) { .root.auto { ${DARK} } }
    button, textarea, select { font: inherit; color: inherit; margin: 0; }
    button { cursor: pointer; }
    a { color: var(--link); text-underline-offset: .15em; overflow-wrap: anywhere; }
    :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
    svg { width: 1.25em; height: 1.25em; flex: none; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
    .away { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

    .launcher { display: flex; align-items: center; gap: .6em; padding: .8em 1.2em; border: 1px solid var(--edge); border-radius: 2em;
      max-width: calc(100vw - 40px); background: var(--accent); color: var(--on-accent); font-weight: 600; box-shadow: 0 4px 16px #0003, 0 1px 3px #0004; }
    .panel { display: flex; flex-direction: column; width: min(400px, calc(100vw - 40px)); height: min(640px, calc(100dvh - 40px));
      background: var(--bg); border: 1px solid var(--line); border-radius: 16px; overflow: hidden; box-shadow: 0 12px 40px #0004; outline-offset: -3px; }
    .head { display: flex; align-items: center; gap: .3em; padding: .5em; padding-inline-start: 1em; background: var(--accent); color: var(--on-accent); }
    .head h2 { flex: 1; margin: 0; font-size: 1.05em; line-height: 1.3; overflow-wrap: anywhere; }
    .head :focus-visible { outline-color: currentColor; outline-offset: -3px; }
    .icon { display: grid; place-items: center; min-width: 44px; min-height: 44px; padding: 0; border: 0; border-radius: 10px; background: none; }
    .head .icon:hover { background: color-mix(in srgb, currentColor 16%, transparent); }

    .alerts { flex: none; max-height: 45%; overflow-y: auto; }
    .banner { display: flex; gap: .7em; padding: .8em 1em; border-bottom: 1px solid; border-inline-start: 6px solid; }
    .banner svg { width: 1.7em; height: 1.7em; }
    .banner h3 { margin: 0 0 .15em; font-size: 1.05em; line-height: 1.3; }
    .banner p, .banner ul { margin: .2em 0; color: var(--ink); font-size: .95em; }
    .emergency { color: var(--stop); background: var(--stop-bg); border-color: var(--stop); }
    .urgent { color: var(--warn); background: var(--warn-bg); border-color: var(--warn); }
    .see_doctor { color: var(--info); background: var(--info-bg); border-color: var(--info); }
    .banner a, .advice a[href^="tel"] { color: inherit; font-weight: 700; white-space: nowrap; }

    .talk { position: relative; flex: 1; min-height: 0; overflow-y: auto; overscroll-behavior: contain; padding: 1em; outline-offset: -3px; }
    .message { margin: 0 0 1em; overflow-wrap: anywhere; }
    .message.user { width: fit-content; max-width: 88%; margin-inline-start: auto; padding: .5em .9em; border: 1px solid var(--edge); border-radius: 16px 16px 4px;
      background: var(--accent); color: var(--on-accent); white-space: pre-wrap; }
    .message p, .message ul, .message ol { margin: 0 0 .6em; }
    .message ul, .message ol { padding-inline-start: 1.3em; }
    .message li { margin: .25em 0; }
    .message hr { border: 0; border-top: 1px solid var(--line); margin: .8em 0; }
    .mark { display: inline-grid; place-items: center; min-width: 24px; height: 24px; padding: 0 .35em; margin: 0 1px; border: 1px solid var(--line);
      border-radius: 7px; background: var(--raised); color: var(--link); font-size: .8em; font-weight: 600; line-height: 1; vertical-align: text-bottom; }
    button.mark:hover, .mark[aria-expanded="true"] { border-color: var(--link); }
    .mark[aria-expanded="true"] { background: var(--link); color: var(--bg); }
    .card { margin: .4em 0 .9em; padding: .8em .9em; border: 1px solid var(--line); border-inline-start: 4px solid var(--link); border-radius: 8px; background: var(--raised); font-size: .92em; }
    .card h3 { margin: 0 0 .3em; font-size: 1em; }
    .card blockquote { margin: 0 0 .6em; font-size: 1.04em; }
    .card blockquote::before { content: "“"; } .card blockquote::after { content: "”"; }
    .card p, .card ul { margin: 0 0 .5em; } .card ul { padding-left: 1.1em; }
    .quiet { color: var(--soft); }
    .plain { min-height: 32px; padding: .2em .8em; border: 1px solid var(--line); border-radius: 8px; background: var(--bg); }
    .plain:hover { border-color: var(--link); }
    .choices { margin: 0 0 1em; }
    .choices p { margin: 0 0 .4em; font-size: .92em; color: var(--soft); }
    .choices ul { list-style: none; margin: 0; padding: 0; }
    .choice { display: block; width: 100%; min-height: 44px; margin: 0 0 .4em; padding: .45em .9em; border: 1px solid var(--line); border-radius: 12px;
      background: var(--bg); color: var(--link); text-align: start; overflow-wrap: anywhere; }
    .choice:hover { border-color: var(--link); background: var(--raised); }
    .rate { display: flex; align-items: center; gap: .3em; margin: 0 0 .8em; font-size: .9em; color: var(--soft); }
    .rate .icon { min-width: 36px; min-height: 36px; } .rate .icon:hover { color: var(--link); background: var(--raised); }
    .trouble { margin: 0 0 1em; padding: .8em 1em; border: 1px solid var(--line); border-inline-start: 6px solid var(--warn); border-radius: 8px; background: var(--raised); }
    .trouble h3 { margin: 0 0 .3em; font-size: 1em; } .trouble p, .trouble ul { margin: 0 0 .6em; } .trouble ul { padding-left: 1.2em; }
    .trouble .primary { margin: .2em 0 .6em; }
    .primary { min-height: 44px; padding: .4em 1.2em; border: 1px solid var(--edge); border-radius: 10px; background: var(--accent); color: var(--on-accent); font-weight: 600; }
    .dots { display: inline-flex; gap: 5px; padding: .5em 0; }
    .dots i { width: 8px; height: 8px; border: 1px solid transparent; border-radius: 50%; background: var(--soft); opacity: .55; }

    form { display: flex; align-items: flex-end; gap: .5em; flex: none; padding: .7em .8em 0; border-top: 1px solid var(--line); }
    textarea { flex: 1; min-width: 0; min-height: 44px; max-height: 7.5em; padding: .55em .8em; resize: none; field-sizing: content; overflow-y: auto;
      border: 1px solid color-mix(in srgb, var(--soft) 80%, transparent); border-radius: 12px; background: var(--bg); line-height: 1.4; }
    textarea::placeholder { color: var(--soft); opacity: 1; }
    textarea:focus-visible { outline-offset: 0; }
    .send { border-radius: 12px; background: var(--accent); color: var(--on-accent); border: 1px solid var(--edge); }
    .send[aria-disabled="true"] { opacity: .5; cursor: default; }
    .foot { flex: none; padding: .45em 1em max(.7em, env(safe-area-inset-bottom)); font-size: .8em; color: var(--soft); }
    .foot label { white-space: nowrap; }
    select { max-width: 11em; min-height: 24px; padding: 0 .2em; border: 1px solid var(--line); border-radius: 6px; background: var(--bg); }

    @media (max-width: 480px), (max-height: 420px) {
      .root.opened { inset: 0; }
      .launcher { padding: 1em; border-radius: 50%; }
      .launcher span { position: absolute; clip-path: inset(50%); white-space: nowrap; }
      .root.opened .panel { width: 100%; height: var(--screen, 100dvh); border: 0; border-radius: 0; }
    }
    @media (prefers-reduced-motion: no-preference) {
      .panel { animation: rise .16s ease-out; }
      .dots i { animation: pulse 1.2s infinite; } .dots i:nth-child(2) { animation-delay: .15s; } .dots i:nth-child(3) { animation-delay: .3s; }
      @keyframes rise { from { opacity: 0; transform: translateY(12px); } }
      @keyframes pulse { 40% { opacity: 1; transform: translateY(-3px); } }
    }
    @media print { .root { display: none; } }
  `;

  /** One of the frame's words, filled in. */
  function say(name, values = {}) {
    return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  /** Make an element: attributes, `onclick`-like listeners, then children; strings become text nodes, never markup. */
  function el(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : String(value));
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[name]);
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(path);
    return svg;
  }

  /** A link that leaves for a new tab; anything but http and https stays plain text. */
  function link(address, text) {
    let url = null;
    try {
      url = new URL(address.startsWith("/") ? address.slice(1) : address, BASE);
    } catch {
      // Not an address: the words alone are shown.
    }
    if (!url || !/^https?:$/.test(url.protocol)) return el("span", {}, text);
    return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, text, el("span", { class: "away" }, say("tab")));
  }

  // Only the numbers of the policy become tel: links, the longest first.
  const NUMBERS = new RegExp(`(?<![\\d-])(?:${[...POLICY.numbers].sort((a, b) => b.length - a.length).join("|")})(?![\\d-])`, "g");

  /** Text with the policy's phone numbers as links. */
  function withNumbers(text) {
    const parts = [];
    let from = 0;
    for (const match of text.matchAll(NUMBERS)) {
      parts.push(text.slice(from, match.index), el("a", { href: `tel:${match[0].replace(/\D/g, "")}` }, match[0]));
      from = match.index + match[0].length;
    }
    return [...parts, text.slice(from)];
  }

  /** One line of the Markdown subset: **bold**, [n] by `mark`, numbers to call if `calls`. */
  function inline(text, { mark, calls } = {}) {
    return text.split(/(\*\*[^*]+\*\*|\[\d+\])/).flatMap((part) => {
      if (/^\*\*[^*]+\*\*$/.test(part)) return [el("strong", {}, ...inline(part.slice(2, -2), { mark, calls }))];
      const number = /^\[(\d+)\]$/.exec(part);
      if (number && mark) return [mark(Number(number[1]))];
      return calls ? withNumbers(part) : [part];
    });
  }

  /** Blocks of the Markdown subset: paragraphs, lists and rules. `item` may render a list item's text in its own way. */
  function blocks(text, { mark, calls, item } = {}) {
    const out = [];
    let list = null;
    let open = false;
    for (const line of text.split("\n")) {
      const bullet = /^\s*(?:([-*•])|\d+[.)])\s+(.*)$/.exec(line);
      if (bullet) {
        const name = bullet[1] ? "ul" : "ol";
        if (list?.localName !== name) out.push((list = el(name)));
        list.append(el("li", {}, ...(item?.(bullet[2]) ?? inline(bullet[2], { mark, calls }))));
        open = false;
        continue;
      }
      list = null;
      if (!line.trim()) open = false;
      else if (/^\s*(-{3,}|\*{3,})\s*$/.test(line)) {
        out.push(el("hr"));
        calls = false; // What follows the advice is the answer: its figures are no phone numbers.
        open = false;
      } else if (open) out.at(-1).append(" ", ...inline(line, { mark, calls }));
      else {
        out.push(el("p", {}, ...inline(line, { mark, calls })));
        open = true;
      }
    }
    return out;
  }

  /** Cut what a half-received text cannot show yet: an open ** or the beginning of a mark. */
  function settled(text) {
    const whole = text.replace(/\[\d*$/, "").replace(/\*$/, (star, at) => (text[at - 1] === "*" ? star : ""));
    return whole.split("**").length % 2 ? whole : whole.replace(/\*\*(?!.*\*\*)/s, "");
  }

  /** An answer that the server refused, or that it could not give. */
  class Refused extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }
  }

  /** Post a conversation and hand out the server-sent events as they come; the whole Reply is returned. */
  async function stream(body, { key, signal, alive, on }) {
    const headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
    const response = await fetch(`${BASE}api/chat`, { method: "POST", headers, body: JSON.stringify(body), signal, credentials: "omit" });
    if (!response.ok) throw new Refused(response.status, (await response.json().catch(() => null))?.error?.message ?? "");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    let reply = null;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      alive();
      const events = (buffer + value).split(/\r?\n\r?\n/);
      buffer = events.pop();
      for (const event of events) {
        const name = /^event: ?(.*)$/m.exec(event)?.[1];
        const data = [...event.matchAll(/^data: ?(.*)$/gm)].map((line) => line[1]).join("\n");
        if (!name || !data) continue;
        if (name === "done") reply = JSON.parse(data);
        else on[name]?.(JSON.parse(data));
      }
    }
    if (!reply) throw new TypeError("the answer was cut off");
    return reply;
  }

  /** Black or white, whichever reads better on a colour as the browser computes it: "rgb(r, g, b)". */
  function readableOn(rgb) {
    const [r, g, b] = rgb.match(/[\d.]+/g).map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
  }

  /** A date as people write it: "22 November 2026". */
  function day(iso) {
    const date = new Date(iso);
    return Number.isNaN(date.getTime()) ? iso : date.toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
  }

  function tell(name, detail = {}) {
    document.dispatchEvent(new CustomEvent(`backtalk:${name}`, { detail }));
  }

  /** Build the widget in a shadow tree of its own and return what can be done with it. */
  function build(settings) {
    const saved = load();
    const messages = saved.messages; // {role, content, reply?}
    let region = [saved.region, settings.region?.toUpperCase(), POLICY.region].find((code) => POLICY.regions[code]);
    const topics = (settings.topics ?? "").split(/[\s,]+/).filter(Boolean);
    let busy = null; // the AbortController of the request under way
    let returnTo = null;
    let waiting = false;
    let announced = "";

    const host = el("backtalk-widget");
    const shadow = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    shadow.adoptedStyleSheets = [sheet];

    const launcher = el("button", { class: "launcher", type: "button", "aria-haspopup": "dialog", onclick: () => open() }, icon("chat"), el("span", {}, settings.title));
    const banner = el("div", { class: "alerts" });
    const log = el("div", { role: "log", "aria-label": say("log") });
    // An answer is written here, unheard, and moves into the log when it is whole: screen readers then read it once.
    const draft = el("div", { "aria-hidden": "true" });
    const after = el("div");
    const talk = el("div", { class: "talk", role: "region", "aria-label": say("talk"), tabindex: "0" }, log, draft, after);
    const status = el("p", { class: "away", role: "status" });
    const box = el("textarea", {
      rows: "1",
      maxlength: MAX_CHARACTERS,
      "aria-label": say("question"),
      placeholder: settings.topic ? `Ask about ${settings.topic}` : say("ask"),
      enterkeyhint: "send",
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        submit();
      },
    });
    const send = el("button", { class: "icon send", type: "submit", "aria-label": say("send") }, icon("send"));
    const form = el("form", {}, box, send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    const places = el("select", { onchange: () => moveTo(places.value) });
    places.append(...Object.entries(POLICY.regions).map(([code, place]) => el("option", { value: code }, place.name)));
    places.value = region;
    const panel = el(
      "div",
      { class: "panel", role: "dialog", "aria-labelledby": "title", tabindex: "-1", hidden: true },
      el(
        "div",
        { class: "head" },
        el("h2", { id: "title" }, settings.title),
        el("button", { class: "icon", type: "button", "aria-label": say("fresh"), title: say("fresh"), onclick: startAgain }, icon("fresh")),
        el("button", { class: "icon", type: "button", "aria-label": say("close"), title: say("close"), onclick: () => close() }, icon("close")),
      ),
      banner,
      talk,
      status,
      form,
      el(
        "div",
        { class: "foot" },
        `${say("note")} `,
        link("kb", say("articles")),
        ". ",
        el("label", {}, say("numbers"), places),
      ),
    );
    const root = el("div", { lang: settings.lang, dir: /^(ar|fa|he|ur)/.test(settings.lang) ? "rtl" : "ltr", class: `root ${settings.position.includes("left") ? "left" : "right"} ${/^(light|dark)$/.test(settings.theme) ? settings.theme : "auto"}` }, launcher, panel);
    shadow.append(root);
    // The page's own shortcuts must not fire while somebody types in here.
    for (const type of ["keydown", "keyup", "keypress"]) panel.addEventListener(type, (event) => event.stopPropagation());
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) close();
      else if (event.key === "Tab") keepFocus(event);
    });

    document.body.append(host);
    root.style.setProperty("--z", /^-?\d+$/.test(settings.zIndex) ? settings.zIndex : DEFAULTS.zIndex);
    root.style.setProperty("--accent", isColour(settings.accent) ? settings.accent : DEFAULTS.accent);
    root.style.setProperty("--on-accent", readableOn(getComputedStyle(launcher).backgroundColor));
    window.addEventListener("offline", online);
    window.addEventListener("online", online);
    window.visualViewport?.addEventListener("resize", fit);
    draw();
    if (saved.open ?? settings.open === "true") open({ focus: false });

    function load() {
      try {
        const kept = JSON.parse(sessionStorage.getItem(STORE) ?? "{}");
        return { ...kept, messages: Array.isArray(kept.messages) ? kept.messages : [] };
      } catch {
        return { messages: [] }; // Storage is blocked or damaged: the conversation lives as long as the page.
      }
    }

    function save() {
      try {
        sessionStorage.setItem(STORE, JSON.stringify({ messages, region: saved.region, open: saved.open }));
      } catch {
        // The same.
      }
    }

    function open({ focus = true } = {}) {
      if (!panel.hidden) {
        if (focus) focusInside();
        return;
      }
      const active = document.activeElement;
      returnTo = active && active !== document.body && active !== host ? active : launcher;
      panel.hidden = false;
      launcher.hidden = true;
      root.classList.add("opened");
      fit();
      if (focus) focusInside();
      // Opened by itself, it must not take the page away from a screen reader.
      panel.setAttribute("aria-modal", String(focus));
      toEnd();
      saved.open = true;
      save();
      tell("open");
    }

    function close() {
      if (panel.hidden) return;
      panel.hidden = true;
      launcher.hidden = false;
      root.classList.remove("opened");
      (returnTo?.isConnected ? returnTo : launcher).focus();
      saved.open = false;
      save();
      tell("close");
    }

    function keepFocus(event) {
      const stops = [...panel.querySelectorAll("button, a[href], textarea, select, [tabindex='0']")].filter((node) => node.getClientRects().length);
      const edge = event.shiftKey ? stops[0] : stops.at(-1);
      if (shadow.activeElement !== edge && shadow.activeElement !== panel) return;
      if (shadow.activeElement === panel && !event.shiftKey) return;
      event.preventDefault();
      (event.shiftKey ? stops.at(-1) : stops[0]).focus();
    }

    /** Keep a full-screen panel above the keyboard of a phone. */
    function fit() {
      if (window.visualViewport) root.style.setProperty("--screen", `${window.visualViewport.height}px`);
    }

    function online() {
      status.textContent = say(navigator.onLine ? "online" : "offline");
      if (navigator.onLine && !busy) run();
    }

    function toEnd() {
      talk.scrollTop = talk.scrollHeight;
    }

    /** Scroll to a part of the conversation; scrollIntoView would move the page, too. */
    function show(node) {
      talk.scrollTop = node.offsetTop - 16;
    }

    /** Focus where typing goes on; on a touch screen the keyboard would cover half of the panel before anything is read. */
    function focusInside() {
      (matchMedia("(pointer: coarse)").matches ? talk : box).focus({ preventScroll: true });
    }

    /** Show the conversation from the beginning: on load, and after "New conversation". */
    function draw() {
      log.replaceChildren(el("div", { class: "message bot" }, el("p", {}, settings.greeting)));
      for (const message of messages) log.append(bubble(message));
      const last = messages.at(-1);
      showBanner(messages.findLast((message) => message.reply)?.reply.escalation);
      if (last?.role === "user") showTrouble("cut", say("cut"));
      else if (last) showAfter(last.reply);
      else after.replaceChildren(choices(say("examples"), settings.starters.split("|").map((text) => text.trim()).filter(Boolean)));
    }

    /** Give up the request under way. */
    function cancel() {
      const request = busy;
      busy = null;
      waiting = false;
      request?.abort();
      draft.replaceChildren();
      send.removeAttribute("aria-disabled");
    }

    function startAgain() {
      cancel();
      messages.length = 0;
      announced = "";
      save();
      draw();
      status.textContent = say("begun");
      focusInside();
    }

    function bubble({ role, content, reply }) {
      const who = el("span", { class: "away", dir: "auto" }, role === "user" ? say("you") : "Backtalk: ");
      if (role === "user") return el("div", { class: "message user", dir: "auto" }, who, content);
      const escalated = reply.escalation.level !== "none";
      const node = el("div", { class: escalated ? "message bot advice" : "message bot", dir: "auto" }, who);
      const known = new Map(reply.citations.map((citation) => [citation.n, citation]));
      node.append(
        ...blocks(content, {
          calls: escalated || reply.outcome === "error",
          mark: (n) => (known.has(n) ? markButton(known.get(n)) : el("span", { class: "mark" }, String(n))),
          item: (text) => (reply.follow_ups.includes(text) ? [choice(text)] : null),
        }),
      );
      return node;
    }

    function markButton(citation) {
      let shown = null;
      const name = `${say("source", citation)}: ${citation.title}`;
      const button = el("button", { class: "mark", type: "button", "aria-expanded": "false", "aria-label": name, onclick: toggle }, String(citation.n));
      function toggle() {
        if (shown) {
          shown.remove();
          shown = null;
        } else {
          shown = card(citation, () => {
            toggle();
            button.focus();
          });
          // Right below the sentence: after the last of its marks.
          let last = button;
          while (last.nextSibling?.className === "mark") last = last.nextSibling;
          last.after(shown);
          tell("citation", { n: citation.n });
          const view = talk.getBoundingClientRect();
          const below = shown.getBoundingClientRect().bottom - view.bottom + 12;
          // As much of it as fits while the mark stays in view.
          if (below > 0) talk.scrollTop += Math.min(below, button.getBoundingClientRect().top - view.top - 8);
        }
        button.setAttribute("aria-expanded", String(Boolean(shown)));
      }
      return button;
    }

    function card(citation, onclose) {
      const sources = citation.sources.map((source) => el("li", {}, link(source.url, source.title), `. ${source.publisher}, ${source.year}`));
      const sure = citation.evidence && `${say("evidence", { grade: citation.evidence })} `;
      const checked = citation.checked && `${say("checked", { date: day(citation.checked) })} `;
      const review = citation.review_status && `${citation.review_status[0].toUpperCase()}${citation.review_status.slice(1)}.`;
      return el(
        "section",
        { class: "card", role: "group", "aria-label": say("source", citation) },
        el("h3", {}, link(citation.url, citation.title)),
        el("p", { class: "quiet" }, citation.section),
        el("blockquote", {}, citation.quote),
        sources.length ? el("ul", {}, ...sources) : null,
        el("p", { class: "quiet" }, sure, checked, review),
        el("button", { class: "plain", type: "button", onclick: onclose }, say("hide")),
      );
    }

    function choice(text) {
      return el("button", { class: "choice", type: "button", dir: "auto", onclick: () => ask(text) }, text);
    }

    function choices(title, texts) {
      if (!texts.length) return "";
      const list = el("ul", {}, ...texts.map((text) => el("li", {}, choice(text))));
      return el("div", { class: "choices", role: "group", "aria-label": title.replace(/\s?:$/, "") }, el("p", { "aria-hidden": "true" }, title), list);
    }

    /** What stands below the newest answer: further questions and the thumbs. */
    function showAfter(reply) {
      const rest = reply.follow_ups.filter((text) => !reply.text.includes(`- ${text}`));
      after.replaceChildren(rating(), choices(say("more"), rest));
    }

    function rating() {
      const line = el("div", { class: "rate", role: "group", "aria-label": say("helpful") }, say("helpful"));
      const thumb = (value, label) => el("button", { class: "icon", type: "button", "aria-label": label, onclick: () => rate(value) }, icon(value));
      async function rate(value) {
        line.replaceChildren(say("thanks"));
        status.textContent = say("thanks");
        focusInside();
        tell("feedback", { rating: value });
        const headers = { "content-type": "application/json", ...(settings.key && { authorization: `Bearer ${settings.key}` }) };
        const body = JSON.stringify({ rating: value, consent: false });
        await fetch(`${BASE}api/feedback`, { method: "POST", headers, body, credentials: "omit" }).catch(() => line.replaceChildren(say("unsent")));
      }
      line.append(thumb("up", say("good")), thumb("down", say("bad")));
      return line;
    }

    /** Show the escalation above everything while it is in force; said again only when it changes. */
    function showBanner(escalation) {
      const level = escalation?.level ?? "none";
      const key = level === "none" ? "" : `${level} ${escalation.advice}`;
      if (key === announced && key) return;
      announced = key;
      banner.replaceChildren();
      if (level === "none") return;
      // Without a flag the check itself broke: then the whole advice, with the danger signs, is the banner.
      const checked = escalation.flags.length > 0;
      const words = checked ? escalation.advice.split("\n\n")[0] : escalation.advice;
      const title = checked ? POLICY.levels[level] : say("first");
      banner.append(
        el("div", { class: `banner ${level}`, role: "alert", dir: "auto" }, icon(level), el("div", {}, el("h3", {}, title), ...blocks(words, { calls: true }))),
      );
    }

    /** Say that there is no answer, what to watch for meanwhile, and offer to try again. */
    function showTrouble(reason, words, { retry = true } = {}) {
      const advice = POLICY.regions[region].advice;
      after.replaceChildren(
        el(
          "div",
          { class: "trouble", role: "alert" },
          el("h3", {}, words),
          retry ? el("button", { class: "primary", type: "button", onclick: again }, say("again")) : null,
          ...(reason === "refused" ? [] : [el("div", { class: "advice" }, ...blocks(advice, { calls: true }))]),
        ),
      );
      show(after);
      tell("error", { reason });
    }

    function again() {
      focusInside();
      run();
    }

    function submit() {
      const text = box.value;
      if (!text.trim()) return;
      // Sent while an answer is still coming: it goes out right after.
      waiting = Boolean(busy);
      if (busy) return;
      box.value = "";
      ask(text);
    }

    function ask(text) {
      const content = String(text).trim().slice(0, MAX_CHARACTERS);
      if (busy || !content) return;
      messages.push({ role: "user", content });
      log.append(bubble(messages.at(-1)));
      tell("question");
      save();
      focusInside();
      run();
    }

    /** What the server gets: everything the person said, and as many of our answers as fit beside it. */
    function outgoing() {
      let excess = messages.length - MAX_MESSAGES;
      const kept = messages.filter((message) => message.role === "user" || excess-- <= 0);
      return kept.slice(-MAX_MESSAGES).map(({ role, content }) => ({ role, content }));
    }

    /** Ask for the answer to the last message. */
    async function run() {
      if (busy || messages.at(-1)?.role !== "user") return;
      const request = (busy = new AbortController());
      const question = log.lastElementChild;
      let text = "";
      let timer = 0;
      let held = false;
      // The question moves to the top and stays there, so that the answer is read from its beginning.
      const hold = () => {
        if (held) return;
        show(question);
        held = Math.abs(talk.scrollTop - question.offsetTop + 16) < 2;
      };
      const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(() => request.abort(new DOMException("no answer in time", "TimeoutError")), SILENCE_MS);
      };
      const on = {
        escalation: showBanner,
        token: ({ text: more }) => {
          text += more;
          draft.replaceChildren(el("div", { class: "message bot", dir: "auto" }, ...blocks(settled(text), { mark: (n) => el("span", { class: "mark" }, String(n)) })));
          hold();
        },
      };
      after.replaceChildren();
      draft.replaceChildren(el("div", { class: "message bot" }, el("span", { class: "dots" }, el("i"), el("i"), el("i"))));
      status.textContent = say("looking");
      send.setAttribute("aria-disabled", "true");
      hold();
      alive();
      try {
        const reply = await stream({ messages: outgoing(), stream: true, region, ...(topics.length && { topics }) }, { key: settings.key, signal: request.signal, alive, on });
        if (busy !== request) return;
        showBanner(reply.escalation);
        if (reply.outcome === "error" && reply.escalation.level === "none") throw new Refused(503, reply.text);
        messages.push({ role: "assistant", content: reply.text, reply });
        save();
        log.append(bubble(messages.at(-1)));
        draft.replaceChildren();
        showAfter(reply);
        hold();
        status.textContent = "";
        tell("answer", { outcome: reply.outcome, level: reply.escalation.level, citations: reply.citations.length });
      } catch (error) {
        if (busy !== request || !host.isConnected) return;
        waiting = false;
        explain(error);
      } finally {
        clearTimeout(timer);
        if (busy === request) {
          busy = null;
          draft.replaceChildren();
          send.removeAttribute("aria-disabled");
          if (waiting) submit();
        }
      }
    }

    function explain(error) {
      const { status: code } = error;
      status.textContent = "";
      if (code === 400 || code === 413 || code === 422) {
        // The question itself was refused: it goes back into the box to be changed.
        box.value = messages.pop().content;
        log.lastElementChild.remove();
        save();
        showTrouble("refused", say("refused", { why: error.message || say("shorten") }), { retry: false });
      } else if (code === 401 || code === 403) showTrouble("denied", say("denied"), { retry: false });
      else if (code === 429) showTrouble("busy", say("busy"));
      else if (!navigator.onLine) showTrouble("offline", say("away"));
      else showTrouble(code ? "server" : "unreachable", say("down"));
    }

    /** Change whose numbers are given; advice that is in force is asked for again with the new ones. */
    function moveTo(code) {
      region = saved.region = code;
      save();
      cancel();
      const last = messages.at(-1);
      if (last?.role === "user") run();
      else if (last?.reply && last.reply.escalation.level !== "none") {
        messages.pop();
        log.lastElementChild.remove();
        run();
      }
    }

    function destroy() {
      cancel();
      window.removeEventListener("offline", online);
      window.removeEventListener("online", online);
      window.visualViewport?.removeEventListener("resize", fit);
      host.remove();
    }

    return { host, open, close, ask, destroy };
  }

  function isColour(colour) {
    return CSS.supports("color", colour);
  }

  let widget = null;
  let coming = null; // the promise of a widget whose words are on their way

  /** Put the widget on the page unless it is there; settings given here go before those of the tag. */
  function mount(settings = {}) {
    if (coming || widget?.host.isConnected) return coming;
    widget?.destroy();
    const given = Object.fromEntries(Object.entries({ ...script.dataset, ...settings }).map(([key, value]) => [key, String(value)]));
    const all = { ...DEFAULTS, ...given };
    const make = () => (widget = build({ title: say("title"), greeting: say("greeting"), ...all }));
    words = ENGLISH;
    if (all.lang === "en" || !/^[a-z]{2}$/.test(all.lang)) return void make();
    const mine = (coming = translate(all).then(() => {
      // Else it was taken off again meanwhile.
      if (coming !== mine) return;
      coming = null;
      make();
    }));
    return coming;
  }

  /** Fetch the frame's words in another language; without them it stays English. */
  async function translate(settings) {
    try {
      const response = await fetch(`${BASE}widget/${settings.lang}.json`, { credentials: "omit" });
      if (!response.ok) throw new Refused(response.status, "");
      words = { ...ENGLISH, ...(await response.json()) };
    } catch {
      settings.lang = "en";
    }
  }

  async function need() {
    await mount();
    return widget;
  }

  window.Backtalk = Object.freeze({
    mount: (settings) => void mount(settings),
    open: async () => (await need())?.open(),
    close: () => widget?.close(),
    ask: async (question) => {
      const there = await need();
      there?.open();
      there?.ask(question);
    },
    destroy: () => {
      widget?.destroy();
      widget = coming = null;
    },
  });
  if (document.body) mount();
  else document.addEventListener("DOMContentLoaded", () => mount(), { once: true });
})();
