"""A study without a file: built in Python, run, its front printed and drawn, an allocation picked.

`python examples/study_in_python.py 300` takes 300 images per allocation and writes reports/in_python and front.html.
"""

import sys

import tstitch_search as ts


def main(n_images: int) -> None:
    """Search the embedded family on a coarse grid: who of three DiTs takes which of 20 steps?"""
    members = [{"name": name, "weights": f"zoo:fashion/{name}"} for name in ("S", "B", "XL")]
    study = ts.Study(
        name="in_python",
        search_space={
            "name": "fashion_coarse",
            "family": "dit",
            "pipeline": "zoo:fashion",
            "n_classes": 10,
            "denoisers": members,
            "n_steps": 20,
            "grid": 0.5,
        },
        guidance_scale=1.0,
        quality={"extractor": "fashion-cnn", "reference": "zoo:fashion", "n_images": n_images},
        confirm={"n_images": 2 * n_images},
        workers={"pool": "inline"},
    )
    result = ts.run(study)
    for row in result.table.to_dicts():
        print(f"{row['allocation']:16} {row['latency_s']:.3f} s  FID {row['fid']:.3f} ± {row['fid_se']:.3f}")
    picked = result.table.pick(max_fid_loss=0.2)
    print("within 20 % of the largest:", picked.allocation)
    ts.plot(result.table).write_html("front.html")


if __name__ == "__main__":
    main(int(sys.argv[1]))
