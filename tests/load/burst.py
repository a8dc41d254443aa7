"""A burst: every connection at once, one request each."""

from tests.load import plain
from tests.load.figures import Figure, Report, milliseconds
from tests.load.intake import handed_in
from tests.load.plan import Plan, mail, percentile
from tests.load.sizes import Sizes
from tests.load.usage import megabytes, megabytes_of_each, refused_at_the_door
from tests.load.world import World


def burst(world: World, sizes: Sizes) -> Report:
    processes = world.stack.processes
    processes.restart("intake")  # so that the most memory it ever had is this burst's
    calm = megabytes(processes.running["intake"].pid)
    overflows = refused_at_the_door()
    handed = handed_in(world, Plan(body=mail(), connections=sizes.burst, keep_alive=False))
    most = megabytes_of_each(processes.running["intake"].pid, "VmHWM")
    overflows = refused_at_the_door() - overflows
    answers, cpu = handed.answers, handed.cpu
    beside = plain.beside(world.mariadb.url, answers.rate)
    return Report(
        title=f"A burst of {sizes.burst:,} connections",
        how="""All connections are opened at once, with one POST each, and the server closes them after its answer. A
latency is counted from before the connection is opened. The senders run. Memory is the sum over intake's processes of
their peak (VmHWM); shared pages are counted twice. Intake was started for this measure.""",
        figures=[
            Figure(what="accepted", value=answers.accepted, at_least=sizes.burst),
            Figure(what="failed", value=answers.failed, at_most=0),
            Figure(what="rate", value=answers.rate, unit="/s", compared=beside),
            Figure(what="median", value=milliseconds(percentile(answers.latencies, 0.5)), unit="ms"),
            Figure(what="99th percentile", value=percentile(answers.latencies, 0.99), unit="s", at_most=10),
            Figure(
                what="peak memory",
                value=sum(most),
                unit="MiB",
                at_most=300,
                compared=f"{calm:.0f} MiB before it; {max(most):.0f} MiB of it is the largest process's",
            ),
            Figure(
                what="attempts to connect that the kernel dropped",
                value=overflows,
                compared="the queue of connections not yet accepted was full; tried again after 1, 3, 7, 15 s",
            ),
            *cpu.per_thousand(answers.accepted, "burst", cpu.of("intake"), "intake"),
        ],
        problems=handed.problems,
    )
