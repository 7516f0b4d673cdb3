// Light, dark, or as the system is. Loaded first, so that the page never shows the wrong one.

import { by } from "./dom.js";

const CHOICES = ["system", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");
let choice = "system";
try {
  choice = CHOICES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : choice;
} catch {
  // no storage: the choice lasts as long as the page
}

function apply() {
  const theme = choice === "system" ? (dark.matches ? "dark" : "light") : choice;
  document.documentElement.dataset.theme = theme;
  const words = choice === "system" ? "as the system has them" : choice;
  by("theme").setAttribute("aria-label", `Colours: ${words}`);
  by("theme").title = `Colours: ${words} (t)`;
  document.dispatchEvent(new Event("themechange"));
}

dark.addEventListener("change", apply);
by("theme").addEventListener("click", () => {
  choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
  try {
    localStorage.setItem("theme", choice);
  } catch {
    // as above
  }
  apply();
});
apply();
