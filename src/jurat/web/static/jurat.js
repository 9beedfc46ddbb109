// What a page does beyond showing itself: live fragments, light and dark, keys. Without this file every page still works.

const root = document.documentElement;

// Light and dark -----------------------------------------------------------------------------------------------------

function toggleTheme() {
  const dark = getComputedStyle(root).colorScheme === "dark"
    || (root.dataset.theme === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `jurat_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
}

const theme = document.getElementById("theme");
if (theme) {
  theme.hidden = false;
  theme.addEventListener("click", toggleTheme);
}

// Keys: g and a letter opens a page, t changes the theme, ? lists them ----------------------------------------------------

const help = document.getElementById("help");
const helpOpen = document.getElementById("help-open");
if (help && helpOpen) {
  helpOpen.hidden = false;
  helpOpen.addEventListener("click", () => help.showModal());
}

let chord = 0;

function endChord() {
  chord = 0;
  document.body.classList.remove("chord");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  if (performance.now() < chord) {
    const link = [...document.querySelectorAll(".pages a[data-key]")].find((a) => a.dataset.key === event.key);
    endChord();
    if (link) {
      event.preventDefault();
      link.click();
    }
  } else if (event.key === "g") {
    chord = performance.now() + 1500;
    document.body.classList.add("chord");
    setTimeout(() => performance.now() >= chord && endChord(), 1600);
  } else if (event.key === "t" && theme) {
    toggleTheme();
  } else if (event.key === "?" && help) {
    help.showModal();
  }
});

// Forms that apply as soon as something is chosen; the button stays for those without script ------------------------------

for (const form of document.querySelectorAll("form[data-at-once]")) {
  form.querySelectorAll("button").forEach((button) => { button.hidden = true; });
  form.addEventListener("change", () => form.requestSubmit());
}

// Live fragments ----------------------------------------------------------------------------------------------------------

const live = document.getElementById("live");

function say(state, word) {
  if (!live) return;
  live.dataset.state = state;
  live.querySelector(".word").textContent = word;
}

// What somebody opened or is reading with the keyboard stays as it is.
function replace(id, html) {
  const old = document.getElementById(id);
  if (!old || old.matches(":focus-within")) return;
  const open = [...old.querySelectorAll("details")].map((d) => d.open);
  const parsed = new DOMParser().parseFromString(html, "text/html").getElementById(id);
  if (!parsed) return;
  old.replaceWith(document.adoptNode(parsed));
  parsed.querySelectorAll("details").forEach((d, i) => { d.open = open[i] ?? d.open; });
}

const source = document.querySelector("[data-live]")?.dataset.live;
if (source) {
  const stream = new EventSource(source);
  stream.addEventListener("open", () => say("live", "live"));
  stream.addEventListener("fragments", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) replace(id, html);
    say("live", `live, ${new Date().toISOString().slice(11, 19)}Z`);
  });
  stream.addEventListener("gone", () => {
    stream.close();
    say("lost", "logged out: load again");
  });
  stream.addEventListener("error", () => say("lost", "not live: trying again"));
  addEventListener("pagehide", () => stream.close());
}
