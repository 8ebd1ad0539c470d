// The list below the photo: a button for each object, and one for the points.

import { COLOURS } from "./canvas.js";

// Shows objects as `Selection.read` returns them. `toggle` and `select` get an index; -1 selects none.
export function listFound(list, objects, points, { toggle, clearPoints, select }) {
  const buttons = objects.map((object, place) => {
    const button = objectButton(object, COLOURS[place % COLOURS.length]);
    button.addEventListener("click", () => (object.index < 0 ? clearPoints() : toggle(object.index)));
    button.addEventListener("pointerenter", () => select(place));
    button.addEventListener("pointerleave", () => select(-1));
    return button;
  });
  if (points) {
    const button = makeButton(`Remove ${points} ${points > 1 ? "points" : "point"}`);
    button.addEventListener("click", clearPoints);
    buttons.push(button);
  }
  const focused = [...list.children].indexOf(document.activeElement?.parentElement);
  list.replaceChildren(
    ...buttons.map((button) => {
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  list.children[focused]?.firstChild.focus(); // the pressed button was replaced
}

function objectButton({ label, score, index, isDropped }, colour) {
  const dot = document.createElement("span");
  dot.style.background = colour;
  const button = makeButton(dot, `${label} ${score.toFixed(2)}`);
  button.title = index < 0 ? "Remove the points" : isDropped ? "Keep this object" : "Leave this object out";
  if (index >= 0) button.setAttribute("aria-pressed", String(!isDropped));
  return button;
}

function makeButton(...content) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...content);
  return button;
}
