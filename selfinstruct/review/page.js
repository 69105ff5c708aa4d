// Texts of rows are set as text, never as markup.
"use strict";
const at = (id) => document.getElementById(id);
let reviewer = "", rows = [], answers = {}, names = [], place = 0, given = [], before = Promise.resolve();

at("who").addEventListener("submit", async (event) => {
  event.preventDefault();
  reviewer = at("name").value.trim();
  if (!reviewer) return;
  const reply = await fetch("rows?" + new URLSearchParams({ reviewer }));
  const content = await reply.json();
  ({ rows, answers } = content);
  names = Object.keys(content.questions);
  at("questions").replaceChildren(...names.map((name, number) => question(content.questions[name], number)));
  at("reading").hidden = false;
  at("name").blur();
  const first = rows.findIndex((row) => !(row.id in answers));
  show(first < 0 ? 0 : first);
});

function question(words, number) {
  const item = document.createElement("li"), text = document.createElement("span"), both = document.createElement("span");
  text.textContent = words;
  for (const value of ["yes", "no"]) {
    const button = document.createElement("button");
    button.textContent = button.value = value;
    button.setAttribute("aria-label", words + " " + value);
    button.addEventListener("click", () => { given = given.slice(0, number); if (given.length === number) answer(value === "yes"); });
    both.append(button, " ");
  }
  item.append(text, both);
  return item;
}

function show(next) {
  place = Math.min(Math.max(next, 0), rows.length - 1);
  const row = rows[place], kept = answers[row.id];
  given = kept ? names.map((name) => kept[name]) : [];
  at("row").textContent = `Row ${place + 1} of ${rows.length}: ${row.id}`;
  for (const part of ["instruction", "input", "output"]) {
    at(part).textContent = row[part] || "none";
    at(part).classList.toggle("none", !row[part]);
  }
  window.scrollTo(0, 0);
  mark();
}

function mark() {
  [...at("questions").children].forEach((item, number) => {
    item.classList.toggle("current", number === given.length);
    for (const button of item.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(number < given.length && given[number] === (button.value === "yes")));
  });
  const done = rows.filter((row) => row.id in answers).length;
  at("progress").textContent = done === rows.length ? `All ${done} rows are reviewed. Thank you.` : `${done} of ${rows.length} rows reviewed by ${reviewer}`;
}

// Whoever types fast loses no key: each answer waits until the one before is kept.
function answer(yes) {
  before = before.then(() => take(yes));
}

async function take(yes) {
  if (given.length === names.length) given = [];
  given.push(yes);
  mark();
  if (given.length < names.length) return;
  const row = rows[place], said = Object.fromEntries(names.map((name, number) => [name, given[number]]));
  at("error").textContent = "";
  try {
    const body = JSON.stringify({ reviewer, row: row.id, ...said });
    const reply = await fetch("answers", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!reply.ok) throw new Error(await reply.text());
    answers[row.id] = said;
    const next = rows.findIndex((other, number) => number > place && !(other.id in answers));
    next < 0 ? show(Math.max(rows.findIndex((other) => !(other.id in answers)), 0)) : show(next);
  } catch (error) {
    given.pop();
    at("error").textContent = "The answer was not kept: " + error.message;
    mark();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.target === at("name") || event.ctrlKey || event.metaKey || event.altKey || at("reading").hidden) return;
  const actions = {
    y: () => answer(true), n: () => answer(false), ArrowLeft: () => show(place - 1), ArrowRight: () => show(place + 1),
    Backspace: () => { given.pop(); mark(); },
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});
