// Two comforts; every page works without them: short addresses, arrow keys to step through.
"use strict";

for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("submit", () => {
    // Empty choices stay out of the address.
    for (const select of form.querySelectorAll("select")) {
      select.disabled = select.value === "";
    }
  });
}

// Coming back by the back button finds the form as it was left: disabled.
window.addEventListener("pageshow", () => {
  for (const select of document.querySelectorAll("select:disabled")) {
    select.disabled = false;
  }
});

document.addEventListener("keydown", (event) => {
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const busy = event.target.closest("input, select, textarea");
  if (!rel || busy || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) {
    return;
  }
  document.querySelector(`a[rel="${rel}"]`)?.click();
});
