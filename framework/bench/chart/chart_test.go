package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		greatest float64
		wanted   int
		want     []float64
	}{
		{10000, 5, []float64{0, 2000, 4000, 6000, 8000, 10000}},
		{10001, 5, []float64{0, 5000, 10000, 15000}},
		{31.4, 10, []float64{0, 5, 10, 15, 20, 25, 30, 35}},
		{0.3, 3, []float64{0, 0.1, 0.2, 0.30000000000000004}},
		{0, 1, []float64{0, 1}},
	} {
		if got := ticks(test.greatest, test.wanted); !slices.Equal(got, test.want) {
			t.Errorf("ticks(%v, %d) = %v, want %v", test.greatest, test.wanted, got, test.want)
		}
	}
}

func TestMedianOfLines(t *testing.T) {
	line := func(speed, end float64) []Point { return []Point{{0, 0}, {end, speed * end}} }
	for name, test := range map[string]struct {
		lines [][]Point
		want  []Point
	}{
		"none":      {nil, nil},
		"empty":     {[][]Point{nil}, nil},
		"one":       {[][]Point{line(2, 3)}, []Point{{0, 0}, {1, 2}, {2, 4}, {3, 6}}},
		"odd":       {[][]Point{line(1, 4), line(3, 4), line(2, 4)}, []Point{{0, 0}, {1, 2}, {2, 4}, {3, 6}, {4, 8}}},
		"even":      {[][]Point{line(1, 2), line(3, 2)}, []Point{{0, 0}, {1, 2}, {2, 4}}},
		"ends held": {[][]Point{line(4, 1), line(2, 2), line(1, 4)}, []Point{{0, 0}, {1, 2}, {2, 4}}},
	} {
		if got := median(test.lines, 1); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestLineBeforeAndAfterItsPoints(t *testing.T) {
	points := []Point{{2, 10}, {4, 30}}
	for x, want := range map[float64]float64{0: 0, 1.9: 0, 2: 10, 3: 20, 4: 30, 9: 30} {
		if got := at(points, x); got != want {
			t.Errorf("at %v: got %v, want %v", x, got, want)
		}
	}
}

func TestThinKeepsTheEnds(t *testing.T) {
	var points []Point
	for i := range 10000 {
		points = append(points, Point{X: float64(i) / 1000, Y: float64(i)})
	}
	kept := thin(points, 1)
	if len(kept) != 20 || kept[0] != points[0] || kept[19] != points[9999] {
		t.Errorf("%d points are left, from %v to %v", len(kept), kept[0], kept[len(kept)-1])
	}
}

// wellFormed reads the whole drawing as XML and returns its texts.
func wellFormed(t *testing.T, drawing []byte) []string {
	t.Helper()
	var texts []string
	for decoder := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, drawing)
		}
		if text, is := token.(xml.CharData); is && strings.TrimSpace(string(text)) != "" {
			texts = append(texts, string(text))
		}
	}
}

func TestTextIsEscaped(t *testing.T) {
	var out bytes.Buffer
	name := `a<b & "c"` + "\x00"
	if err := (Chart{Title: "</text><script>", X: "s", Y: "n", Series: []Series{{Name: name}}}).WriteSVG(&out); err != nil {
		t.Fatal(err)
	}
	texts := wellFormed(t, out.Bytes())
	if !slices.Contains(texts, "</text><script>") || !slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(text, `a<b & "c"`) }) {
		t.Errorf("got %q", texts)
	}
	if strings.Contains(out.String(), "<script") {
		t.Error("what was text is markup")
	}
}

func TestNothingAtAllIsDrawn(t *testing.T) {
	for name, chart := range map[string]Chart{
		"no series":    {},
		"no lines":     {Series: []Series{{Name: "ours"}}},
		"no points":    {Series: []Series{{Name: "ours", Lines: []Line{{}, {Broken: true}}}}},
		"no numbers":   {Series: []Series{{Lines: []Line{{Points: []Point{{math.NaN(), 1}, {1, math.Inf(1)}, {-1, 1}}}}}}},
		"at the start": {Series: []Series{{Lines: []Line{{Points: []Point{{0, 0}}}}}}},
	} {
		var out bytes.Buffer
		if err := chart.WriteSVG(&out); err != nil {
			t.Fatal(err)
		}
		texts := wellFormed(t, out.Bytes())
		if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
			t.Errorf("%s: there is a place that is none:\n%s", name, out.String())
		}
		if said := slices.Contains(texts, "nothing was seen"); said != (name != "at the start") {
			t.Errorf("%s: said that nothing was seen: %v", name, said)
		}
	}
}

// example has runs of two schedulers, one of which broke once.
func example() Chart {
	random := rand.New(rand.NewPCG(1, 2))
	c := Chart{Title: "SchedulingBasic/5000Nodes_10000Pods", Subtitle: "profile scheduler_perf, 2 cores, 15.6 GiB", X: "seconds", Y: "pods bound"}
	for name, speed := range map[string]float64{"ours": 820, "reference": 390} {
		series := Series{Name: name}
		for run := range 5 {
			line := Line{Points: []Point{{}}, Broken: name == "reference" && run == 3}
			factor := speed * math.Exp(0.06*random.NormFloat64())
			for x, y := 0.0, 0.0; y < 10000; {
				x += 0.25
				y = min(10000, y+0.25*factor*(1+0.35*random.NormFloat64())*(1-math.Exp(-x)))
				line.Points = append(line.Points, Point{x, y})
				if line.Broken && x > 13 {
					break
				}
			}
			series.Lines = append(series.Lines, line)
		}
		c.Series = append(c.Series, series)
	}
	slices.SortFunc(c.Series, func(a, b Series) int { return strings.Compare(a.Name, b.Name) })
	return c
}

func TestEveryRunIsThinAndTheMedianBold(t *testing.T) {
	var out bytes.Buffer
	if err := example().WriteSVG(&out); err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("CHART"); path != "" {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	texts := wellFormed(t, out.Bytes())
	for _, want := range []string{"SchedulingBasic/5000Nodes_10000Pods", "seconds", "pods bound", "10\u202f000",
		"ours (median of 5 runs)", "reference (median of 4 runs; 1 not completed ×)"} {
		if !slices.Contains(texts, want) {
			t.Errorf("%q is missing in %q", want, texts)
		}
	}
	for what, want := range map[string]int{
		`stroke="#0072B2" stroke-linejoin="round" stroke-width="1.1"`: 5,
		`stroke="#D55E00" stroke-linejoin="round" stroke-width="1.1"`: 4,
		`stroke="#D55E00" stroke-linejoin="round" stroke-width="1.3"`: 1,
		`stroke="#0072B2" stroke-linejoin="round" stroke-width="3"`:   1,
		`stroke="#D55E00" stroke-linejoin="round" stroke-width="3"`:   1,
	} {
		if got := strings.Count(out.String(), what); got != want {
			t.Errorf("%d lines with %s, want %d", got, what, want)
		}
	}
}
