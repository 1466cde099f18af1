// Small comforts on top of pages that work without any script: times in the reader's zone, and keys.
"use strict";

const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) {
      time.title = time.dateTime;
      time.textContent = zone.format(moment);
    }
  }
}

function typing(target) {
  return target instanceof Element && target.closest("input, select, textarea, [contenteditable]") !== null;
}

// data-key="1 a" on a link or a button: that key presses it.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
  const inText = event.target instanceof Element && event.target.closest(".text, .scroll") !== null;
  if (inText && event.key.startsWith("Arrow")) return;
  for (const pressed of document.querySelectorAll("[data-key]")) {
    if (pressed.dataset.key.split(" ").includes(event.key)) {
      event.preventDefault();
      pressed.click();
      return;
    }
  }
});

localTimes(document);
document.addEventListener("htmx:afterSwap", (event) => localTimes(event.target));
