"""From a prompt to text and pictures: session, step runner, cache, guidance, samplers.

The way through one picture: `transcript` (what was said, as spans) -> `context` (what one guidance
branch has read, in a cache) -> `runner` (one forward pass of any mix of contexts) -> `guidance` and
`image` (the denoise loop) -> `loop` (the interleaved loop and its events) -> `session`. `engine`
joins the steps of many sessions.
"""
