"""The style sheet of a report's page. Charts use the same variables for ink, grid and bars."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --muted: #59636e; --grid: #d8dee4; --bar: #8a94a0;
  --soft: #f4f6f8; --link: #0b57d0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --ink: #e8eaed; --muted: #a3acb6; --grid: #343b43; --bar: #7d8793; --soft: #1e2328;
    --link: #8ab4f8;
  }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main, header, nav { max-width: 1000px; margin: 0 auto; padding: 0 24px }
header { padding-top: 32px }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere }
h2 { font-size: 21px; margin: 0 0 8px; padding-top: 24px; border-top: 1px solid var(--grid) }
h3 { font-size: 17px; margin: 28px 0 6px; overflow-wrap: anywhere }
h4 { font-size: 15px; margin: 22px 0 6px; overflow-wrap: anywhere }
section { margin: 36px 0 }
p { margin: 8px 0 12px; max-width: 74ch; overflow-wrap: anywhere }
.sub { color: var(--muted); margin: 0 0 20px }
a { color: var(--link) }
code {
  font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--soft);
  padding: 1px 4px; border-radius: 4px; overflow-wrap: anywhere;
}
.short { white-space: nowrap }
nav ul {
  display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; padding: 0; margin: 20px 0 0;
  font-size: 14px;
}
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 12px; padding: 0; margin: 0;
  list-style: none;
}
.tiles li {
  background: var(--soft); border-radius: 8px; padding: 12px 14px; min-width: 0; overflow-wrap: anywhere;
}
.tiles b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums }
.tiles span { color: var(--muted); font-size: 14px; line-height: 1.35; display: block }
.notes {
  background: var(--soft); border-left: 4px solid #b35900; border-radius: 4px; padding: 10px 16px;
  margin: 20px 0 0;
}
.notes ul { margin: 4px 0; padding-left: 20px }
.notes li { overflow-wrap: anywhere }
.notes.fine { border-color: #2b8a3e }
.notes p { margin: 0 }
.scroll { overflow-x: auto; margin: 12px 0 16px }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
th, td {
  padding: 4px 18px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--grid);
  max-width: 46ch; overflow-wrap: break-word;
}
th { font-weight: 600; vertical-align: bottom }
.first { white-space: nowrap; max-width: none }
.number { text-align: right; white-space: nowrap }
th.number { white-space: normal; min-width: 84px }
.track { width: 120px; height: 10px; margin-top: 6px; background: var(--soft); border-radius: 2px }
.bar { display: block; height: 10px; min-width: 1px; background: var(--bar); border-radius: 2px }
.figure { margin: 12px 0 16px }
.chart { display: block; max-width: 100%; height: auto }
.narrow { display: none }
.chart text { font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif !important }
.swatch {
  display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 2px;
  border: 1px solid var(--muted); vertical-align: -1px;
}
.legend { max-width: none; font-size: 14px }
.key { display: inline-block; margin-right: 18px }
.chips { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 14px }
figure { margin: 0; min-width: 0 }
.chips img { display: block; width: 100%; height: auto; aspect-ratio: 1; border-radius: 3px }
figcaption { font-size: 12px; line-height: 1.35; color: var(--muted); margin-top: 4px; overflow-wrap: anywhere }
.name { display: block; color: var(--ink) }
details { margin: 8px 0 }
summary { cursor: pointer; color: var(--link) }
footer { color: var(--muted); font-size: 13px; max-width: 1000px; margin: 0 auto; padding: 0 24px 48px }
@media (max-width: 640px) {
  main, header, nav, footer { padding-left: 16px; padding-right: 16px }
  .wide { display: none }
  .track { display: none }
  th, td { padding-right: 14px }
  .tiles li { padding: 10px }
  .narrow { display: block }
  h1 { font-size: 24px }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(104px, 1fr)); gap: 8px }
  .tiles b { font-size: 19px }
  .chips { grid-template-columns: repeat(2, minmax(0, 1fr)) }
}
@media print {
  nav { display: none }
  section { break-inside: avoid-page }
}
"""
