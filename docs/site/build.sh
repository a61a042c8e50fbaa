#!/bin/sh
# Builds docs/ as a site in target/book, to be read without a network. Needs mdbook, node and npm.
set -eu
cd "$(dirname "$0")/.."
KATEX_FROM=$(cd .. && pwd)/target/katex
export KATEX_FROM
mkdir -p "$KATEX_FROM"
[ -d "$KATEX_FROM/node_modules/katex" ] || npm install --silent --prefix "$KATEX_FROM" katex@0.16
# mdBook copies whatever lies next to the chapters into the site; the program that draws the figures is not for it.
BOOK=$(cd .. && pwd)/target/book-source
rm -rf "$BOOK"
mkdir -p "$BOOK"
cp -R ./*.md book.toml figures site "$BOOK"
mdbook build "$BOOK" --dest-dir "$(cd .. && pwd)/target/book"
mkdir -p ../target/book/katex/fonts
cp "$KATEX_FROM"/node_modules/katex/dist/katex.min.css ../target/book/katex/
cp "$KATEX_FROM"/node_modules/katex/dist/fonts/*.woff2 ../target/book/katex/fonts/
