// The gallery with its filters, and the player of denoising steps. Texts enter the page by textContent only.
"use strict";
const tasks = JSON.parse(document.getElementById("gallery").textContent);
const byId = (id) => document.getElementById(id);
document.documentElement.classList.add("script");

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function choose(group, values, pick) {
  for (const [value, label] of values) group.append(make("button", { type: "button", textContent: label }));
  const buttons = [...group.children];
  buttons.forEach((button, index) => {
    if (values.length) button.dataset.value = values[index][0];
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      pick(button.dataset.value);
    });
    if (values.length) button.setAttribute("aria-pressed", String(index === 0));
  });
}

// Words of the reference that the text lacks, by their longest common subsequence.
function missing(reference, text) {
  const a = reference.split(/\s+/), b = text.split(/\s+/), lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--)
    lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
  const lost = a.map(() => true);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) lost[i++] = false, j++;
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i++;
    else j++;
  }
  return a.map((word, index) => [word, lost[index]]);
}

function line(kind, name, ...children) {
  return make("p", { className: kind }, make("span", { className: "name", textContent: name }), ...children);
}

function orNothing(text) {
  return text ? text : make("i", { textContent: "nothing" });
}

function written(example) {
  if (!example.tokens) return orNothing(example.text);
  const words = make("span", { className: "words" });
  example.tokens.forEach(([text, sure], index) => {
    if (text.startsWith(" ") && index) words.append(" ");
    const token = make("span", { className: "token", textContent: text.replace(/^ /, "") });
    token.style.setProperty("--sure", sure);
    if (sure < 0.9995) token.title = `${Math.round(100 * sure)} % sure`;
    words.append(token);
  });
  return words;
}

function referenceLine(example, reference) {
  const text = make("span");
  if (example.references.length > 1 || !example.text) text.append(reference);
  else missing(reference, example.text).forEach(([word, lost], index) => text.append(index ? " " : "", lost ? make("mark", { textContent: word }) : word));
  return line("reference", "reference", text);
}

function media(kind, example) {
  if (!example.media) return [];
  if (kind === "image") return [make("img", { src: example.media, alt: example.references[0], decoding: "async" })];
  return [make("audio", { src: example.media, controls: true, preload: "none" })];
}

function card(kind, example) {
  const body = make("div", { className: "body" }), verdict = example.right === true ? "right" : example.right === false ? "wrong" : "";
  if (kind === "audio") body.append(...media(kind, example));
  if (example.input) body.append(line("input", "input", example.input));
  const name = "model" + (verdict ? `, ${verdict} ${verdict === "right" ? "✓" : "✗"}` : "");
  body.append(line("hypothesis", name, written(example)));
  const others = example.references.filter((reference) => reference !== example.text);
  const lines = others.map((reference) => others.length < example.references.length ? line("reference", "also right", reference) : referenceLine(example, reference));
  body.append(...lines.slice(0, REFERENCES));
  const about = [example.speaker, example.style && `to ${example.style}`, example.sure !== undefined && `${Math.round(100 * example.sure)} % sure`];
  body.append(make("p", { className: "meta", textContent: about.filter(Boolean).join(" · ") }));
  const more = make("details", {}, make("summary", { textContent: lines.length > REFERENCES ? "more references, controls" : "controls" }));
  more.append(...lines.slice(REFERENCES), line("", "nearest", orNothing(example.nearest)), line("", "shuffled", orNothing(example.shuffled)), make("p", { className: "meta" }, make("code", { textContent: example.id })));
  body.append(more);
  const article = make("article", { className: `card ${verdict}` });
  if (kind === "image") article.append(...media(kind, example));
  article.append(body);
  return article;
}

const state = { task: Object.keys(tasks)[0], verdict: "", shown: 0 };
const ENDS = { image: 4, audio: 6, text: 6 }, REFERENCES = 2;
const orders = {
  id: () => 0,
  worst: (a, b) => a.quality - b.quality || (a.sure ?? 0) - (b.sure ?? 0),
  best: (a, b) => b.quality - a.quality || (b.sure ?? 0) - (a.sure ?? 0),
  unsure: (a, b) => (a.sure ?? 0) - (b.sure ?? 0),
};

function found() {
  const task = tasks[state.task], slice = byId("slice").value, query = byId("search").value.trim().toLowerCase();
  return task.examples.filter((example) => {
    if (state.verdict && example.right !== (state.verdict === "right")) return false;
    if (slice !== "" && !(example.slices || []).includes(Number(slice))) return false;
    example.all ??= [example.text, example.input, example.speaker, ...example.references].filter(Boolean).join("\n").toLowerCase();
    return !query || example.all.includes(query);
  });
}

function grid(examples) {
  const task = tasks[state.task];
  return make("div", { className: `gallery ${task.kind}` }, ...examples.map((example) => card(task.kind, example)));
}

function refresh() {
  const task = tasks[state.task], examples = found(), order = byId("order").value, cards = byId("cards");
  byId("count").textContent = `${examples.length.toLocaleString("en")} of ${task.examples.length.toLocaleString("en")} samples`;
  cards.replaceChildren();
  byId("more").hidden = true;
  if (!examples.length) return cards.append(make("p", { className: "meta", textContent: "No sample is like that." }));
  if (order === "ends" && examples.length > 2 * ENDS[task.kind]) {
    for (const name of ["worst", "best"])
      cards.append(make("p", { className: "group", textContent: name === "worst" ? "Worst" : "Best" }), grid([...examples].sort(orders[name]).slice(0, ENDS[task.kind])));
    return;
  }
  state.queue = order === "id" ? examples : [...examples].sort(orders[order === "ends" ? "worst" : order]);
  cards.append(grid([]));
  state.shown = 0;
  showMore();
}

function showMore() {
  const task = tasks[state.task], next = state.queue.slice(state.shown, state.shown + task.page);
  byId("cards").lastChild.append(...next.map((example) => card(task.kind, example)));
  state.shown += next.length;
  byId("more").hidden = state.shown >= state.queue.length;
}

function pickTask(name) {
  state.task = name;
  const slices = tasks[name].slices.map((text, index) => make("option", { value: String(index), textContent: text }));
  byId("slice").replaceChildren(make("option", { value: "", textContent: "all" }), ...slices);
  byId("slice").disabled = !slices.length;
  refresh();
}

const titles = Object.entries(tasks).map(([name, task]) => [name, task.title]);
choose(byId("tasks"), titles, pickTask);
choose(byId("verdicts"), [], (value) => { state.verdict = value; refresh(); });
byId("slice").addEventListener("change", refresh);
byId("order").addEventListener("change", refresh);
let typing = 0;
byId("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(refresh, 120); });
byId("more").addEventListener("click", showMore);
pickTask(state.task);

// The player: every position keeps the width of its last text, so that nothing jumps while masks become words.
const film = { task: "", at: 0, steps: [], cells: [], timer: 0 };

function showStep(index) {
  film.at = Math.max(0, Math.min(film.steps.length - 1, index));
  const now = film.steps[film.at], before = film.steps[Math.max(0, film.at - 1)];
  film.cells.forEach(([cell, last], position) => {
    const text = now[position];
    cell.className = "cell" + (text === null ? " mask" : text !== before[position] ? " new" : "") + (last === "" ? " pad" : "");
    cell.textContent = (text || last).replace(/^ /, "") || " ";
  });
  byId("film-slider").value = String(film.at);
  const open = now.filter((text) => text === null).length;
  byId("film-count").textContent = `step ${film.at} of ${film.steps.length - 1}, ${open} open`;
}

function stop() {
  clearInterval(film.timer);
  film.timer = 0;
  byId("film-play").textContent = "Play";
}

function play() {
  if (film.timer) return stop();
  if (film.at === film.steps.length - 1) showStep(0);
  byId("film-play").textContent = "Pause";
  film.timer = setInterval(() => {
    showStep(film.at + 1);
    if (film.at === film.steps.length - 1) stop();
  }, 650);
}

function pickFilm(number) {
  stop();
  const task = tasks[film.task], { index, steps } = task.films[Number(number)], example = task.examples[index];
  film.steps = steps;
  film.cells = steps[steps.length - 1].map((last) => [make("span"), last ?? ""]);
  byId("film-canvas").replaceChildren(...film.cells.flatMap(([cell, last], position) => (last.startsWith(" ") && position ? [" ", cell] : [cell])));
  byId("film-media").replaceChildren(...media(task.kind, example));
  byId("film-given").replaceChildren(...(example.input ? [line("input", "input", example.input)] : []));
  byId("film-reference").replaceChildren(make("span", { className: "name", textContent: "reference" }), example.references[0]);
  byId("film-slider").max = String(steps.length - 1);
  showStep(steps.length - 1);
}

function pickFilmTask(name) {
  film.task = name;
  byId("film-samples").replaceChildren();
  choose(byId("film-samples"), tasks[name].films.map((_, index) => [String(index), `sample ${index + 1}`]), pickFilm);
  pickFilm(0);
}

const filmed = titles.filter(([name]) => tasks[name].films.some(({ steps }) => steps.length > 1));
if (filmed.length) {
  choose(byId("film-tasks"), filmed, pickFilmTask);
  byId("film-play").addEventListener("click", play);
  byId("film-back").addEventListener("click", () => { stop(); showStep(film.at - 1); });
  byId("film-next").addEventListener("click", () => { stop(); showStep(film.at + 1); });
  byId("film-slider").addEventListener("input", (event) => { stop(); showStep(Number(event.target.value)); });
  pickFilmTask(filmed[0][0]);
} else for (const element of [byId("steps"), document.querySelector('nav a[href="#steps"]')]) element.remove();
