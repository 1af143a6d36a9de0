"""A data set made in silico: clips, responses in the challenge's format, and beside them the truth."""

from joblib import Parallel, delayed

from _cli import Run, stage
from cinevox import simulation


def main(run: Run) -> None:
    settings, folder = run.params.simulation, run.paths.simulation(run.instance)
    network = simulation.prepare(settings)
    n_clips, videos = settings.n_train + settings.n_test, folder / simulation.CLIPS
    films = Parallel(return_as="generator")(
        delayed(simulation.make_clip)(videos, settings.seed, index) for index in range(n_clips)
    )
    clips = list(run.progress(films, n_clips, "clips"))
    paths, scratch = [videos / clip.name for clip in clips], run.paths.unfinished / "simulation"
    heard = simulation.listen(settings, network, paths, scratch, run.progress) if network else simulation.Heard()
    components = simulation.driving_components(settings, clips, heard)
    for subject in run.progress(range(settings.n_subjects), settings.n_subjects, "subjects"):
        simulation.write_subject(folder, settings, subject, components)
    simulation.write_truth(folder, settings, clips, components, heard)


if __name__ == "__main__":
    stage(main, "simulation", instances=lambda params: params.simulation.datasets)
