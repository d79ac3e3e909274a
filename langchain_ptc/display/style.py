"""How the pages look: one style sheet, no script, nothing from elsewhere.

Every rule begins with `.ptc`, so that nothing of it reaches the notebook around; three times, so that
the notebook's own rules for tables and code do not win over it. Colour never tells anything alone.
"""

from __future__ import annotations

from collections.abc import Mapping

ROOT = "ptc"
"""Class of the element that holds everything."""

LIGHT: Mapping[str, str] = {
    "fg": "#1f2430",
    "soft": "#646b7a",
    "line": "#dfe2e8",
    "bg": "#ffffff",
    "well": "#f6f7f9",
    "run": "#3b6fd4",
    "wait": "#9aa3b2",
    "good": "#1a7f4b",
    "bad": "#c0362c",
    "odd": "#9a6700",
    "badwell": "#fcebe9",
    "key": "#8a2be2",
    "text": "#1a7f4b",
    "figure": "#b35900",
    "name": "#2257b8",
}
DARK: Mapping[str, str] = {
    "fg": "#e3e6ec",
    "soft": "#9aa2b1",
    "line": "#343a46",
    "bg": "#16191f",
    "well": "#1d2129",
    "run": "#6f9cf0",
    "wait": "#6d7685",
    "good": "#56c288",
    "bad": "#f2857a",
    "odd": "#dcb04e",
    "badwell": "#3a2222",
    "key": "#c79bf2",
    "text": "#7fcf9f",
    "figure": "#e8a868",
    "name": "#8fb5f7",
}


def _variables(colours: Mapping[str, str]) -> str:
    return ";".join(f"--ptc-{name}:{colour}" for name, colour in colours.items())


_SCHEMES = f"""\
.{ROOT}{{{_variables(LIGHT)};color-scheme:light}}
@media (prefers-color-scheme:dark){{.{ROOT}{{{_variables(DARK)};color-scheme:dark}}}}
[data-jp-theme-light="true"] .{ROOT},.vscode-light .{ROOT},html[theme=light] .{ROOT},\
body[data-theme="light"] .{ROOT}\
{{{_variables(LIGHT)};color-scheme:light}}
[data-jp-theme-light="false"] .{ROOT},.vscode-dark .{ROOT},\
.vscode-high-contrast:not(.vscode-high-contrast-light) .{ROOT},html[theme=dark] .{ROOT},\
body[data-theme="dark"] .{ROOT}\
{{{_variables(DARK)};color-scheme:dark}}
"""

_RULES = """\
&{container-type:inline-size;box-sizing:border-box;max-width:1080px;margin:2px 0 10px;
border:1px solid var(--ptc-line);border-radius:8px;background:var(--ptc-bg);color:var(--ptc-fg);
font:13px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
text-align:left;overflow:hidden;font-variant-numeric:tabular-nums}
& *{box-sizing:border-box}
& p{margin:0}
& .ptc-head{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 14px;padding:10px 14px}
& .ptc-status{font-weight:600}
& .ptc-good{color:var(--ptc-good)}
& .ptc-bad{color:var(--ptc-bad)}
& .ptc-odd{color:var(--ptc-odd)}
& .ptc-soft{color:var(--ptc-soft)}
& .ptc-right{margin-left:auto}
& .ptc-error{padding:8px 14px;border-top:1px solid var(--ptc-line);background:var(--ptc-badwell);
overflow-wrap:anywhere;white-space:pre-wrap}
& .ptc-error b{color:var(--ptc-bad)}
& details{border-top:1px solid var(--ptc-line);margin:0;padding:0}
& summary{display:block;padding:6px 14px;cursor:pointer;font-weight:600;margin:0;list-style:none}
& summary::-webkit-details-marker{display:none}
& summary::before{content:"▸";display:inline-block;width:14px;font-size:10px;font-weight:400;
color:var(--ptc-soft)}
& details[open]>summary::before{content:"▾"}
& summary .ptc-soft{font-weight:400;margin-left:8px}
& details.ptc-in{border-top:0}
& details.ptc-in>summary{font-weight:400;color:var(--ptc-soft)}
& pre{margin:0;padding:8px 14px 10px;max-height:420px;overflow:auto;border:0;border-radius:0;
background:var(--ptc-well);color:var(--ptc-fg);
font:12.5px/1.55 ui-monospace,SFMono-Regular,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4}
& pre.ptc-code{padding-left:0;padding-right:0;white-space:pre;overflow-wrap:normal}
& pre code{display:block;min-width:max-content;background:none;color:inherit;padding:0;font:inherit}
& .ptc-l{display:block;padding-right:14px}
& .ptc-n{display:inline-block;width:46px;padding-right:14px;text-align:right;color:var(--ptc-soft);
user-select:none;-webkit-user-select:none}
& .ptc-hit{background:var(--ptc-badwell);box-shadow:inset 3px 0 var(--ptc-bad)}
& .ptc-hit .ptc-n{color:var(--ptc-bad);font-weight:700}
& .ptc-why{display:block;background:var(--ptc-badwell);box-shadow:inset 3px 0 var(--ptc-bad);
color:var(--ptc-bad);padding:0 14px 0 46px;white-space:pre-wrap;max-width:100cqw}
& .ptc-k{color:var(--ptc-key)}
& .ptc-s{color:var(--ptc-text)}
& .ptc-d{color:var(--ptc-figure)}
& .ptc-f{color:var(--ptc-name)}
& .ptc-c{color:var(--ptc-soft);font-style:italic}
& table{border-collapse:collapse;border:0;margin:0;padding:0;font-size:12.5px;width:100%;
table-layout:auto;display:table}
& tr,& tr:hover,& tr:nth-child(n){background:none;border:0;padding:0}
& td,& th{border:0;padding:2px 14px 2px 0;text-align:left;vertical-align:baseline;font-weight:400;
background:none;white-space:normal;max-width:none;line-height:1.5;color:inherit}
& .ptc-calls{display:block;max-height:460px;overflow:auto;padding:0 14px 10px}
& .ptc-calls tbody{display:block}
& .ptc-calls tr{display:grid;column-gap:14px;align-items:center;
grid-template-columns:minmax(0,5fr) minmax(0,6fr) var(--ptc-notes)}
& .ptc-calls td,& .ptc-calls th{display:block;padding:1px 0;min-width:0}
& .ptc-calls .ptc-one{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
& .ptc-calls .ptc-note{text-align:right;white-space:nowrap}
& .ptc-calls .ptc-wide{grid-column:1/-1;white-space:normal;overflow-wrap:anywhere}
& .ptc-axis,& .ptc-track{position:relative;height:14px}
& .ptc-axis{display:flex;justify-content:space-between;height:auto;font-size:11px;
color:var(--ptc-soft)}
& .ptc-track{border-left:1px solid var(--ptc-line);border-right:1px solid var(--ptc-line)}
& .ptc-track i{position:absolute;display:block;top:3px;height:8px;min-width:2px;border-radius:1px}
& .ptc-track .ptc-w{top:6px;height:2px;min-width:0;border-radius:0;background:var(--ptc-wait)}
& .ptc-track .ptc-p{top:-3px;height:20px;width:0;min-width:0;
border-left:1px dashed var(--ptc-soft)}
& .ptc-returned{background:var(--ptc-run)}
& .ptc-cached{border:1px dotted var(--ptc-run)}
& .ptc-failed{border:1px solid var(--ptc-bad);background:repeating-linear-gradient(135deg,
var(--ptc-bad) 0 2px,transparent 2px 4px)}
& .ptc-cancelled{border:1px dashed var(--ptc-odd);border-right:0}
& .ptc-unmade{border:1px solid var(--ptc-odd)}
& .ptc-key{display:flex;flex-wrap:wrap;gap:0 16px;font-size:11px;color:var(--ptc-soft);
padding:0 14px 8px}
& .ptc-key .ptc-track{display:inline-block;width:22px;border:0;vertical-align:-3px;margin-right:5px}
& .ptc-pad{padding:0 14px 12px}
& .ptc-scroll{overflow-x:auto;padding:0 14px}
& .ptc-costs td,& .ptc-costs th{padding:4px 18px 4px 0;border-bottom:1px solid var(--ptc-line)}
& .ptc-costs th{color:var(--ptc-soft)}
& .ptc-costs .ptc-num{text-align:right;white-space:nowrap}
& .ptc-costs th.ptc-num{white-space:normal}
& .ptc-costs td.ptc-own{font-weight:600}
& .ptc-costs td:last-child,& .ptc-costs th:last-child{padding-right:0}
& .ptc-fine{font-size:11.5px;color:var(--ptc-soft);padding:8px 14px 12px;max-width:80em}
& .ptc-tools td{padding:5px 14px 5px 0;border-top:1px solid var(--ptc-line)}
& .ptc-tools tr:first-child td{border-top:0}
& .ptc-tools{table-layout:fixed}
& .ptc-tools td:first-child{width:58%}
& .ptc-sign{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
overflow-wrap:anywhere}
& .ptc-sign b{color:var(--ptc-name);font-weight:600}
& .ptc-tag{display:inline-block;border:1px solid var(--ptc-line);border-radius:4px;padding:0 5px;
margin:1px 4px 1px 0;font-size:11px;color:var(--ptc-soft);white-space:nowrap}
& .ptc-tag.ptc-odd{color:var(--ptc-odd);border-color:currentColor}
& .ptc-tally{display:grid;grid-template-columns:minmax(0,max-content) minmax(0,1fr);
column-gap:18px;padding:0 14px 8px}
& .ptc-said{border-top:1px solid var(--ptc-line);padding:8px 14px;display:grid;
grid-template-columns:76px minmax(0,1fr);column-gap:14px}
& .ptc-said>div{white-space:pre-wrap;overflow-wrap:anywhere;min-width:0}
& .ptc-ran{padding-left:90px}
@container (max-width:620px){
& .ptc-calls tr{grid-template-columns:minmax(0,1fr) max-content;padding:3px 0}
& .ptc-calls td:nth-child(2),& .ptc-calls th:nth-child(2){grid-column:1/-1;grid-row:2}
& .ptc-calls .ptc-wide{grid-row:auto}
& .ptc-right{margin-left:0}
& .ptc-tally{display:grid;grid-template-columns:minmax(0,max-content) minmax(0,1fr);
column-gap:18px;padding:0 14px 8px}
& .ptc-said{grid-template-columns:minmax(0,1fr)}
& .ptc-ran{padding-left:0}
& .ptc-costs td,& .ptc-costs th{padding-right:10px}
& .ptc-tools td{display:block;padding:2px 0;border-top:0}
& .ptc-tools td:first-child{padding-top:8px;width:auto}
}
@media print{& pre,& .ptc-calls{max-height:none}&{print-color-adjust:exact}}
"""

STYLE = f"<style>{_SCHEMES}{_RULES.replace('&', f'.{ROOT}' * 3)}</style>"
"""The style sheet, once for each page."""


def page(body: str) -> str:
    """Return a body with its style, as a notebook shows it."""
    return f'<div class="{ROOT}">{STYLE}{body}</div>'
