/** Creates DOM elements. Text always becomes a text node, so nothing from a server or a file is parsed as HTML. */

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Attribute */
/** @typedef {Node | string | null | undefined | false} Child */

/** Ids given to controls. A counter, because `crypto.randomUUID` exists only in secure contexts. */
let ids = 0;

/**
 * Creates an element. A function is added as an event listener (`onclick`: click), `true` sets an empty attribute;
 * `false`, null and undefined are skipped.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, Attribute>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  set(element, attributes);
  element.append(...children.filter(isChild));
  return element;
}

/**
 * Creates an SVG element, like `el`.
 * @param {string} name
 * @param {Record<string, Attribute>} [attributes]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(element, attributes);
  element.append(...children.filter(isChild));
  return element;
}

/**
 * An icon from the sprite in index.html. It is hidden from screen readers; label the button.
 * @param {string} name
 */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/**
 * A button with an icon, a text, or both.
 * @param {string} label
 * @param {() => unknown} onclick
 * @param {{ icon?: string, hidden?: boolean, class?: string, [name: string]: Attribute }} [options]
 */
export function button(label, onclick, { icon: picture, iconOnly, ...attributes } = {}) {
  const named = iconOnly ? { "aria-label": label, title: label } : {};
  const children = [picture ? icon(picture) : null, iconOnly ? null : label];
  return el("button", { type: "button", onclick: () => void onclick(), ...named, ...attributes }, ...children);
}

/**
 * A control with its label and an optional hint.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {string | HTMLElement} [hint]
 */
export function field(label, control, hint) {
  control.id ||= `control-${++ids}`;
  const named = el("label", { for: control.id }, label);
  if (!hint) return el("div", { class: "field" }, named, control);
  const small = el("small", { id: `${control.id}-hint` }, hint);
  control.setAttribute("aria-describedby", small.id);
  return el("div", { class: "field" }, named, control, small);
}

/**
 * The element of index.html with this id.
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return element;
}

/**
 * @param {Element} element
 * @param {Record<string, Attribute>} attributes
 */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
}

/**
 * @param {Child} child
 * @returns {child is Node | string}
 */
function isChild(child) {
  return child !== null && child !== undefined && child !== false;
}
