// Package chart draws how something grew over time, for several contenders and
// several runs of each, as an SVG that stands by itself: every run is a thin line,
// and the median of a contender's runs a bold one.
package chart

import (
	"cmp"
	"io"
	"math"
	"slices"
)

// Chart is what is drawn.
type Chart struct {
	Title, Subtitle string
	// X and Y say what the axes count. Both begin at 0.
	X, Y   string
	Series []Series
}

// Series is the runs of one contender.
type Series struct {
	Name  string
	Lines []Line
}

// Line is one run. One that is Broken came to no good end: it is drawn as such, and
// the median is without it.
type Line struct {
	Points []Point
	Broken bool
}

// Point is a place on a line.
type Point struct{ X, Y float64 }

// WriteSVG draws the chart.
func (c Chart) WriteSVG(to io.Writer) error {
	d := newDrawing(c)
	d.draw()
	_, err := to.Write(d.out.Bytes())
	return err
}

// ordered is the line's points from left to right, without those that are no place.
func (l Line) ordered() []Point {
	points := slices.DeleteFunc(slices.Clone(l.Points), func(p Point) bool {
		return math.IsNaN(p.X+p.Y) || math.IsInf(p.X+p.Y, 0) || p.X < 0 || p.Y < 0
	})
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	return points
}

// at is how high the line of ordered points is at x: nothing before it began, and
// what it came to after it ended.
func at(points []Point, x float64) float64 {
	i, _ := slices.BinarySearchFunc(points, x, func(p Point, x float64) int { return cmp.Compare(p.X, x) })
	switch {
	case i == len(points):
		return points[i-1].Y
	case i == 0 && points[0].X > x:
		return 0
	case points[i].X == x:
		return points[i].Y
	}
	before, after := points[i-1], points[i]
	return before.Y + (after.Y-before.Y)*(x-before.X)/(after.X-before.X)
}

// median is the line of the medians of lines of ordered points, at steps along x; it
// ends where it has come to its end.
func median(lines [][]Point, step float64) []Point {
	var end float64
	lines = slices.DeleteFunc(slices.Clone(lines), func(points []Point) bool { return len(points) == 0 })
	for _, points := range lines {
		end = max(end, points[len(points)-1].X)
	}
	if len(lines) == 0 || step <= 0 {
		return nil
	}
	middle := func(x float64) float64 {
		heights := make([]float64, len(lines))
		for i, points := range lines {
			heights[i] = at(points, x)
		}
		slices.Sort(heights)
		return (heights[(len(heights)-1)/2] + heights[len(heights)/2]) / 2
	}
	final := middle(end)
	var points []Point
	for i := 0; ; i++ {
		x := min(float64(i)*step, end)
		points = append(points, Point{X: x, Y: middle(x)})
		if x == end || final > 0 && points[i].Y >= final {
			return points
		}
	}
}

// thin leaves out points that are closer together than a step: of each step the
// first and the last one stay, so that the line looks the same.
func thin(points []Point, step float64) []Point {
	var kept []Point
	for i, p := range points {
		first := i == 0 || math.Floor(points[i-1].X/step) != math.Floor(p.X/step)
		last := i == len(points)-1 || math.Floor(points[i+1].X/step) != math.Floor(p.X/step)
		if first || last {
			kept = append(kept, p)
		}
	}
	return kept
}

// ticks are round numbers from 0 on, about as many as wanted: the last one is the
// first that is not exceeded by the greatest value.
func ticks(greatest float64, wanted int) []float64 {
	if greatest <= 0 {
		greatest = 1
	}
	raw := greatest / float64(wanted)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, round := range []float64{1, 2, 5} {
		if round*power >= raw*(1-1e-9) {
			step = round * power
			break
		}
	}
	marks := []float64{0}
	for i := 1; marks[len(marks)-1] < greatest*(1-1e-9); i++ {
		marks = append(marks, float64(i)*step)
	}
	return marks
}
