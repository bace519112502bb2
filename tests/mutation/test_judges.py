from pathlib import Path

import yaml

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def test_modules_and_tests_that_judge_them_exist_and_every_survivor_has_a_reason():
    judges, survivors = (
        yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("judges", "survivors")
    )
    for module, tests in judges.items():
        for name in (module, *tests):
            assert (REPOSITORY / name).is_file(), name
    assert survivors.keys() <= judges.keys()
    for reasons in survivors.values():
        assert all(" -> " in change and len(reason) > 20 for change, reason in reasons.items())
