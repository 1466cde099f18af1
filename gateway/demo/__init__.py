"""The product on embedded defaults: simulated models, a real gateway, real SDKs, and the table at the end."""


async def run_demo(*, once: bool) -> int:
    """Run the demo; with `once` return after the table, else keep everything up until Ctrl-C. Returns the exit code."""
    from gateway.demo.run import run  # noqa: PLC0415  (the simulator's process imports this package, and needs little)

    return await run(once=once)
