"""How it runs: the container, the functions under functions-framework and on Lambda, the trigger, the scheduler."""
