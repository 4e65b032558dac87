"""Tables as CSV and LaTeX."""
import csv
import os

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--"}


def tex(text):
    return "".join(_TEX.get(c, c) for c in str(text))


def write_csv(path, header, lines):
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(header)
        out.writerows(lines)


def write_latex(path, header, lines, caption, numbers):
    """A table for \\input; needs the package booktabs.  numbers: indices of right-aligned columns."""
    columns = "".join("r" if i in numbers else "l" for i in range(len(header)))
    body = [" & ".join(tex(c) for c in line) + r" \\" for line in lines]
    text = [r"\begin{table}", r"\centering\small", rf"\caption{{{tex(caption)}}}", rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule", " & ".join(tex(h) for h in header) + r" \\", r"\midrule", *body, r"\bottomrule",
            r"\end{tabular}", r"\end{table}", ""]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(text))


def write_both(folder, name, header, raw, shown, caption, numbers):
    """NAME.csv with the numbers as they are, NAME.tex as they are shown."""
    write_csv(os.path.join(folder, name + ".csv"), header[0], raw)
    write_latex(os.path.join(folder, name + ".tex"), header[1], shown, caption, numbers)
