"""Our own drawings for the GenEval classes that no permissively licensed emoji shows.

In: nothing. Out: SVG bodies on a 64 x 64 canvas, used by `build` alone. Each names its colours by
placeholders, so that the drawing appears once per style in a colour typical of that style.
"""

from __future__ import annotations

PALETTES: dict[str, dict[str, dict[str, str]]] = {
    "noto": {
        "warm": {"main": "#d9483b", "dark": "#a32b22", "light": "#f0897d"},
        "cool": {"main": "#3f8fd2", "dark": "#22609a", "light": "#8fc4ee"},
        "leaf": {"main": "#4c9a52", "dark": "#2c6b35", "light": "#8ecb8c"},
        "wood": {"main": "#b07a48", "dark": "#7a4f2a", "light": "#d6a676"},
        "sand": {"main": "#e0a33c", "dark": "#a8711d", "light": "#f4cd85"},
        "metal": {"main": "#a9b4bd", "dark": "#68747e", "light": "#dbe2e7"},
        "night": {"main": "#4a4f57", "dark": "#2a2e34", "light": "#7c838d"},
        "plum": {"main": "#9a5fb0", "dark": "#6c3a80", "light": "#c99bd8"},
    },
    "fluent": {
        "warm": {"main": "#f8312f", "dark": "#ca0b4a", "light": "#ff8687"},
        "cool": {"main": "#00a6ed", "dark": "#0074ba", "light": "#7dd5f7"},
        "leaf": {"main": "#44911b", "dark": "#008463", "light": "#86d72f"},
        "wood": {"main": "#a56953", "dark": "#6d4534", "light": "#d3883e"},
        "sand": {"main": "#fcd53f", "dark": "#f9a51a", "light": "#ffe994"},
        "metal": {"main": "#b4acbc", "dark": "#7d7287", "light": "#e6e6e6"},
        "night": {"main": "#533566", "dark": "#321b41", "light": "#998ea4"},
        "plum": {"main": "#8d65c5", "dark": "#5235a6", "light": "#cdc4d6"},
    },
}

# Concept to (palette, SVG body); line breaks mean nothing.
DRAWINGS: dict[str, tuple[str, str]] = {
    "bench": (
        "wood",
        """
        <rect x="3" y="14" width="58" height="7" rx="2" fill="{main}"/>
        <rect x="3" y="25" width="58" height="7" rx="2" fill="{main}"/>
        <rect x="1" y="37" width="62" height="8" rx="2" fill="{light}"/>
        <rect x="9" y="10" width="5" height="46" rx="2" fill="{dark}"/>
        <rect x="50" y="10" width="5" height="46" rx="2" fill="{dark}"/>
        """,
    ),
    "fire hydrant": (
        "warm",
        """
        <rect x="14" y="55" width="36" height="7" rx="2" fill="{dark}"/>
        <rect x="20" y="22" width="24" height="35" fill="{main}"/>
        <path d="M18 22a14 14 0 0 1 28 0z" fill="{main}"/>
        <rect x="28" y="2" width="8" height="8" rx="2" fill="{dark}"/>
        <rect x="15" y="20" width="34" height="6" rx="3" fill="{dark}"/>
        <rect x="8" y="31" width="12" height="12" rx="2" fill="{dark}"/>
        <rect x="44" y="31" width="12" height="12" rx="2" fill="{dark}"/>
        <circle cx="32" cy="38" r="9" fill="{light}"/>
        <circle cx="32" cy="38" r="4" fill="{dark}"/>
        """,
    ),
    "parking meter": (
        "metal",
        """
        <rect x="28" y="36" width="8" height="27" fill="{dark}"/>
        <path d="M16 16a16 15 0 0 1 32 0v16q0 6-6 6H22q-6 0-6-6z" fill="{main}"/>
        <path d="M21 17a11 10 0 0 1 22 0v3H21z" fill="#e9f6ff"/>
        <path d="M32 18l6-7" stroke="#d02a2a" stroke-width="2.5"/>
        <rect x="24" y="25" width="16" height="4" rx="2" fill="{dark}"/>
        <circle cx="32" cy="33" r="2.5" fill="{dark}"/>
        """,
    ),
    "baseball glove": (
        "wood",
        """
        <path d="M13 58Q6 48 7 38L4 25q-1-5 3-6t6 4l3 8 0-20q0-6 5-6t6 6l1 15 2-18q1-6 6-5t5
          6l-1 18 4-14q2-5 6-4t4 7l-4 19q8-8 12-5t-1 9L49 50q-3 8-9 12H19q-4 0-6-4z"
          fill="{main}"/>
        <path d="M27 27l1 14M36 27l-2 14M44 30l-4 12M17 31l4 12" stroke="{dark}"
          stroke-width="2.5" fill="none"/>
        <circle cx="31" cy="46" r="10" fill="#f7f5ef"/>
        <path d="M25 39q5 7 0 14M37 39q-5 7 0 14" stroke="#d02a2a" stroke-width="1.6"
          fill="none"/>
        """,
    ),
    "baseball bat": (
        "sand",
        """
        <g transform="rotate(45 32 32)">
        <path d="M25 6q0-14 7-14t7 14v22q0 6-4 16l-1 22h-4l-1-22q-4-10-4-16z"
          fill="{main}"/>
        <path d="M35-6q4 4 4 12v22q0 6-4 16z" fill="{dark}"/>
        <rect x="29" y="52" width="6" height="14" fill="#3b3b44"/>
        <rect x="27" y="65" width="10" height="5" rx="2" fill="{dark}"/>
        </g>
        """,
    ),
    "tennis racket": (
        "leaf",
        """
        <g transform="rotate(40 32 32)">
        <ellipse cx="32" cy="15" rx="17" ry="21" fill="#eef3e6" stroke="{main}"
          stroke-width="5"/>
        <path d="M24-3v36M32-5v40M40-3v36M16 7h32M15 15h34M16 23h32" stroke="{light}"
          stroke-width="1.6"/>
        <path d="M26 34l6 8 6-8 1 4-5 9h-4l-5-9z" fill="{main}"/>
        <rect x="29" y="44" width="6" height="27" rx="2" fill="{dark}"/>
        </g>
        """,
    ),
    "bottle": (
        "leaf",
        """
        <rect x="26" y="1" width="12" height="7" rx="2" fill="#d8c9a0"/>
        <path d="M27 8h10v12q9 6 9 15v23q0 5-5 5H23q-5 0-5-5V35q0-9 9-15z" fill="{main}"/>
        <path d="M22 36q0-6 6-10v34h-4q-2 0-2-3z" fill="{light}"/>
        <rect x="18" y="38" width="28" height="14" fill="#f4f0e4"/>
        <rect x="22" y="43" width="20" height="3" fill="{dark}"/>
        """,
    ),
    "bowl": (
        "cool",
        """
        <ellipse cx="32" cy="27" rx="31" ry="8" fill="{dark}"/>
        <path d="M1 27h62q-1 19-17 27H18Q2 46 1 27z" fill="{main}"/>
        <path d="M5 36q2 11 14 17l4 1Q11 46 9 36z" fill="{light}"/>
        <rect x="19" y="53" width="26" height="6" rx="2" fill="{dark}"/>
        """,
    ),
    "couch": (
        "plum",
        """
        <rect x="8" y="13" width="48" height="30" rx="7" fill="{dark}"/>
        <rect x="13" y="30" width="19" height="17" rx="3" fill="{light}"/>
        <rect x="32" y="30" width="19" height="17" rx="3" fill="{light}"/>
        <rect x="1" y="26" width="13" height="28" rx="6" fill="{main}"/>
        <rect x="50" y="26" width="13" height="28" rx="6" fill="{main}"/>
        <rect x="8" y="43" width="48" height="11" fill="{main}"/>
        <rect x="8" y="54" width="6" height="6" fill="#4b3423"/>
        <rect x="50" y="54" width="6" height="6" fill="#4b3423"/>
        """,
    ),
    "dining table": (
        "wood",
        """
        <path d="M12 16h40l11 13H1z" fill="{light}"/>
        <rect x="1" y="29" width="62" height="6" fill="{main}"/>
        <rect x="4" y="35" width="6" height="27" fill="{dark}"/>
        <rect x="54" y="35" width="6" height="27" fill="{dark}"/>
        <rect x="17" y="35" width="5" height="17" fill="{main}"/>
        <rect x="42" y="35" width="5" height="17" fill="{main}"/>
        """,
    ),
    "fork": (
        "metal",
        """
        <path d="M20 2h4v18h3V2h4v18h2V2h4v18h3V2h4v24q0 7-8 10l2 22q0 5-4
          5t-4-5l2-22q-8-3-8-10z" fill="{main}"/>
        <path d="M32 36l2 22q0 4-2 5-4 0-4-5l2-22z" fill="{light}"/>
        <path d="M40 2h4v24q0 7-8 10h-2q7-3 7-10z" fill="{dark}"/>
        """,
    ),
    "hair drier": (
        "warm",
        """
        <path d="M60 10v26L44 33V13z" fill="{dark}"/>
        <path d="M20 8h16q9 3 9 15t-9 15H20q-15-2-15-15T20 8z" fill="{main}"/>
        <circle cx="20" cy="23" r="8" fill="{light}"/>
        <circle cx="20" cy="23" r="4" fill="{dark}"/>
        <path d="M17 36h13l5 23q0 4-4 4h-6q-4 0-5-4z" fill="{main}"/>
        <rect x="24" y="43" width="5" height="8" rx="2" fill="{light}"/>
        """,
    ),
    "microwave": (
        "night",
        """
        <rect x="1" y="12" width="62" height="38" rx="4" fill="{main}"/>
        <rect x="6" y="18" width="38" height="26" rx="3" fill="#bfe3f2"/>
        <path d="M14 44l14-26h8L22 44z" fill="#e6f6fd"/>
        <rect x="49" y="18" width="10" height="7" fill="#8fe3a0"/>
        <circle cx="54" cy="32" r="3" fill="{light}"/>
        <circle cx="54" cy="41" r="3" fill="{light}"/>
        <rect x="7" y="50" width="8" height="4" fill="{dark}"/>
        <rect x="49" y="50" width="8" height="4" fill="{dark}"/>
        """,
    ),
    "oven": (
        "metal",
        """
        <rect x="7" y="4" width="50" height="57" rx="4" fill="{main}"/>
        <rect x="7" y="4" width="50" height="14" rx="4" fill="{dark}"/>
        <circle cx="16" cy="11" r="3.5" fill="#f2f2f2"/>
        <circle cx="27" cy="11" r="3.5" fill="#f2f2f2"/>
        <circle cx="38" cy="11" r="3.5" fill="#f2f2f2"/>
        <circle cx="49" cy="11" r="3.5" fill="#f2f2f2"/>
        <rect x="12" y="22" width="40" height="4" rx="2" fill="{light}"/>
        <rect x="13" y="30" width="38" height="24" rx="3" fill="#3a2a26"/>
        <path d="M17 51q4-12 8-5 3-12 7-3 4-10 7 0 4-6 8 8z" fill="#ff9a2e"/>
        """,
    ),
    "refrigerator": (
        "cool",
        """
        <rect x="14" y="1" width="36" height="59" rx="4" fill="{main}"/>
        <rect x="14" y="22" width="36" height="3" fill="{dark}"/>
        <rect x="19" y="8" width="4" height="10" rx="2" fill="#f4f6f8"/>
        <rect x="19" y="29" width="4" height="15" rx="2" fill="#f4f6f8"/>
        <path d="M44 1h2q4 0 4 4v51q0 4-4 4h-2z" fill="{light}"/>
        <rect x="18" y="60" width="6" height="3" fill="#333"/>
        <rect x="40" y="60" width="6" height="3" fill="#333"/>
        """,
    ),
    "sink": (
        "cool",
        """
        <path d="M30 28V12q0-9 8-9t8 9v3h-5v-3q0-4-3-4t-3 4v16z" fill="#8b98a3"/>
        <rect x="19" y="20" width="7" height="8" rx="2" fill="#8b98a3"/>
        <path d="M43 19q3 5 0 6t-3-2z" fill="#35a7ff"/>
        <rect x="2" y="27" width="60" height="8" rx="4" fill="{dark}"/>
        <path d="M6 35h52q-2 16-16 18H22Q8 51 6 35z" fill="{light}"/>
        <path d="M26 53h12l3 10H23z" fill="{main}"/>
        """,
    ),
    "skis": (
        "warm",
        """
        <g transform="rotate(28 32 32)">
        <path d="M28 72V0q0-9 4-9t4 9v72z" fill="{main}"/>
        <rect x="28" y="-2" width="8" height="7" fill="#fff"/>
        <rect x="28" y="60" width="8" height="5" fill="#fff"/>
        </g>
        <g transform="rotate(-28 32 32)">
        <path d="M28 72V0q0-9 4-9t4 9v72z" fill="{main}"/>
        <rect x="28" y="-2" width="8" height="7" fill="#fff"/>
        <rect x="28" y="60" width="8" height="5" fill="#fff"/>
        <rect x="26" y="24" width="12" height="16" rx="3" fill="{dark}"/>
        </g>
        """,
    ),
    "snowboard": (
        "plum",
        """
        <g transform="rotate(30 32 32)">
        <rect x="20" y="-4" width="24" height="72" rx="12" fill="{main}"/>
        <path d="M20 8q12-8 24 0v8q-12-8-24 0zM20 56q12 8 24 0v-8q-12 8-24 0z"
          fill="{light}"/>
        <rect x="17" y="20" width="30" height="7" rx="3" fill="#2d2d33"/>
        <rect x="17" y="37" width="30" height="7" rx="3" fill="#2d2d33"/>
        </g>
        """,
    ),
    "surfboard": (
        "sand",
        """
        <g transform="rotate(25 32 32)">
        <path d="M32-4q15 18 13 42-2 20-7 29H26q-5-9-7-29Q17 14 32-4z" fill="{main}"/>
        <path d="M31-2h2l1 69h-4z" fill="#fff"/>
        <path d="M19 33q13 8 26 0v7q-13 8-26 0z" fill="#e8453c"/>
        </g>
        """,
    ),
    "tie": (
        "warm",
        """
        <path d="M23 1h18l-5 13h-8z" fill="{dark}"/>
        <path d="M28 14h8l8 36-12 13-12-13z" fill="{main}"/>
        <path d="M25 28l13-6 1 5-15 7zM22 41l19-9 1 5-20 10z" fill="{light}"/>
        """,
    ),
    "toaster": (
        "metal",
        """
        <path d="M15 20V8q0-6 8-6h18q8 0 8 6v12z" fill="#e2b06a"/>
        <path d="M19 20V9q0-3 5-3h16q5 0 5 3v11z" fill="#f6dca6"/>
        <path d="M5 28q0-10 10-10h34q10 0 10 10v28H5z" fill="{main}"/>
        <rect x="5" y="54" width="54" height="7" rx="2" fill="{dark}"/>
        <rect x="13" y="21" width="38" height="4" rx="2" fill="{dark}"/>
        <path d="M10 30q0-4 4-4h3v26h-7z" fill="{light}"/>
        <rect x="56" y="30" width="7" height="8" rx="2" fill="#333"/>
        """,
    ),
    "tv remote": (
        "night",
        """
        <rect x="20" y="1" width="24" height="62" rx="6" fill="{main}"/>
        <circle cx="32" cy="9" r="4" fill="#f0453a"/>
        <circle cx="32" cy="23" r="8" fill="{light}"/>
        <circle cx="32" cy="23" r="3" fill="{dark}"/>
        <g fill="#f0f0f4">
        <circle cx="26" cy="38" r="2.6"/>
        <circle cx="38" cy="38" r="2.6"/>
        <circle cx="26" cy="46" r="2.6"/>
        <circle cx="38" cy="46" r="2.6"/>
        <circle cx="26" cy="54" r="2.6"/>
        <circle cx="38" cy="54" r="2.6"/>
        </g>
        """,
    ),
    "vase": (
        "cool",
        """
        <path d="M22 2h20v5q-4 3-4 9 12 7 12 23 0 16-9 24H23q-9-8-9-24 0-16 12-23 0-6-4-9z"
          fill="{main}"/>
        <path d="M15 33q17 8 34 0l1 6q-18 9-36 0z" fill="{light}"/>
        <path d="M17 50q15 6 30 0l-2 5q-13 5-26 0z" fill="{light}"/>
        <rect x="20" y="1" width="24" height="5" rx="2" fill="{dark}"/>
        """,
    ),
}
