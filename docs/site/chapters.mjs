// A preprocessor of mdBook: formulas become HTML while the site is built, blocks of Rust say that they
// are Rust, chapters carry the numbers of their files, and links out of docs/ become text.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

// `mdbook` asks first whether a renderer is supported; all are.
if (process.argv[2] === "supports") process.exit(0);

// The package is where build.sh put it, outside of the sources.
const katex = createRequire(process.env.KATEX_FROM + "/")("katex");

// What Markdown or a table would take for its own inside of HTML.
const inert = (html) =>
  html.replace(/\n/g, " ").replace(/[_*\\`[\]~|$]/g, (c) => `&#${c.charCodeAt(0)};`);

// The page's text holds a formula once, since the search shows that text; its source is its label.
function formula(tex, displayMode) {
  const source = tex.replace(/^[ \t]*>[ \t]?/gm, "");
  const options = { displayMode, output: "html", throwOnError: true, strict: "ignore" };
  const label = source.trim().replace(/&/g, "&amp;").replace(/"/g, "&quot;").replace(/</g, "&lt;");
  return inert(`<span role="math" aria-label="${label}">${katex.renderToString(source, options)}</span>`);
}

// Formulas of a piece of prose, code spans left alone.
function prose(text) {
  return text.replace(
    /(`+)[^`][\s\S]*?\1|\$\$([\s\S]+?)\$\$|\$((?:[^$\\\n]|\\.|\n(?!\s*\n))+?)\$/g,
    (all, ticks, display, inline) => {
      if (ticks) return all;
      return display === undefined ? formula(inline, false) : formula(display, true);
    },
  );
}

// A link out of docs/ has no page in the site.
const local = (text) =>
  text
    .replace(/\[((?:[^\]`]|`[^`]*`)+)\]\(\.\.\/[^)]*\)/g, "$1")
    .replace(/^(\[[^\]]+\]): \.\.\/.*$/gm, "");

function page(content) {
  let fenced = false;
  let out = "";
  let plain = "";
  for (const line of content.split("\n")) {
    const fence = /^(?:> ?)?```(.*)$/.exec(line);
    if (fence && !fenced) {
      out += prose(local(plain)) + (fence[1] === "" ? `${line}rust` : line) + "\n";
      plain = "";
      fenced = true;
    } else if (fenced) {
      out += line + "\n";
      fenced = !fence;
    } else {
      plain += line + "\n";
    }
  }
  return `<link rel="stylesheet" href="katex/katex.min.css">\n\n${out}${prose(local(plain))}`;
}

function visit(items) {
  for (const { Chapter: chapter } of items) {
    if (!chapter) continue;
    const number = /^0?(\d+)-/.exec(chapter.path ?? "");
    if (number && !chapter.path.endsWith(".ko.md")) chapter.name = `${number[1]}. ${chapter.name}`;
    chapter.content = page(chapter.content);
    visit(chapter.sub_items);
  }
}

const [, book] = JSON.parse(readFileSync(0, "utf8"));
visit(book.items ?? book.sections);
process.stdout.write(JSON.stringify(book));
