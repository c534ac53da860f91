"""`clorad experiment list` and `stop`: what the result files say, and the request to end."""

from daemon.commands.experiments.results import all_results, stop_file
from daemon.console import CommandFailed, ago, console, show_json, table
from daemon.settings import Settings


def show(settings: Settings, *, as_json: bool) -> None:
    """Print every experiment whose results are here."""
    results = all_results(settings.experiments.path)
    if as_json:
        show_json(
            [
                {
                    "experiment": experiment.name,
                    "plan": experiment.plan,
                    "end": experiment.end,
                    "steps": experiment.steps,
                }
                for experiment in results
            ]
        )
        return
    if not results:
        console().print("no experiments yet: `clorad experiment run FILE` runs some")
        return
    rows = table("EXPERIMENT", ">STEPS", ">FIRST REWARD", ">LAST REWARD", "SERVES", "LAST STEP", "STATE")
    for experiment in results:
        last = experiment.steps[-1] if experiment.steps else None
        rows.add_row(
            experiment.name,
            f"{len(experiment.steps)} of {experiment.plan.get('steps', 0)}",
            f"{experiment.steps[0]['reward']:.3f}" if last else "–",
            f"{last['reward']:.3f}" if last else "–",
            last["serves"] if last else "v0",
            ago(last["ended_at_s"] if last else experiment.began_s),
            experiment.end or "not over",
        )
    console().print(rows)


def stop(settings: Settings, name: str) -> str:
    """Ask a running experiment to end after its step. Returns a sentence that says so."""
    folder = settings.experiments.path
    results = {experiment.name: experiment for experiment in all_results(folder)}
    if name not in results:
        raise CommandFailed(f"no experiment {name[:60]} in {folder}")
    if results[name].end is not None:
        raise CommandFailed(f"{name} is over: {results[name].end}")
    stop_file(folder, name).touch()
    return f"{name} ends after the step that is under way"
