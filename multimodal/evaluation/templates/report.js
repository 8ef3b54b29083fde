// Without JavaScript the steps stand below each other; with it they become a player.
"use strict";
for (const steps of document.querySelectorAll(".steps")) {
  const rows = [...steps.querySelectorAll("li")];
  if (rows.length < 2) continue;
  const bar = document.createElement("div"), play = document.createElement("button"), slider = document.createElement("input");
  bar.className = "bar";
  play.type = "button";
  slider.type = "range";
  slider.min = "0";
  slider.max = String(rows.length - 1);
  slider.setAttribute("aria-label", "denoising step");
  let timer = 0;
  const show = (index) => {
    slider.value = String(index);
    rows.forEach((row, at) => row.classList.toggle("shown", at === index));
  };
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = "▶ play"; };
  play.addEventListener("click", () => {
    if (timer) return stop();
    let index = 0;
    show(index);
    play.textContent = "❚❚ pause";
    timer = setInterval(() => { if (++index >= rows.length) return stop(); show(index); }, 700);
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  bar.append(play, slider);
  steps.append(bar);
  steps.classList.add("player");
  stop();
  show(rows.length - 1);
}
