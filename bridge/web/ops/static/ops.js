// What makes the pages better; without it they do all they have to. Keys, copying, live counts.

document.documentElement.classList.add("scripted");

const pages = { o: "/ops/", m: "/ops/messages", r: "/ops/reports", v: "/ops/review", c: "/ops/costs" };
const rows = () => [...document.querySelectorAll("table.rows tbody tr")].filter((row) => row.querySelector("a.row-link"));
let current = -1;
let going = false;

function choose(index) {
  const all = rows();
  if (!all.length) return;
  all[current]?.classList.remove("current");
  current = Math.max(0, Math.min(index, all.length - 1));
  all[current].classList.add("current");
  all[current].querySelector("a.row-link").focus();
  all[current].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog[open]")) return;
  if (going) {
    going = false;
    if (pages[event.key]) location.href = pages[event.key];
    return;
  }
  switch (event.key) {
    case "/": document.getElementById("search")?.focus(); break;
    case "j": choose(current + 1); break;
    case "k": choose(current - 1); break;
    case "g": going = true; break;
    case "?": document.getElementById("keys").showModal(); break;
    default: return;
  }
  event.preventDefault();
});

for (const block of document.querySelectorAll("pre.copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  block.before(button);
}

// Elements that carry data-live="reports.pending" show what the service says now.
const live = document.querySelectorAll("[data-live]");
if (live.length) {
  const source = new EventSource("/ops/live");
  source.addEventListener("message", (event) => {
    const now = JSON.parse(event.data);
    for (const element of live) {
      const value = now[element.dataset.live];
      if (value !== undefined) element.textContent = value.toLocaleString("en");
    }
  });
  addEventListener("pagehide", () => source.close());
}
