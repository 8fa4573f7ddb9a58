package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The drawing's size, and how wide a letter is for its height, about.
const (
	width, height = 960.0, 560.0
	left, right   = 84.0, 28.0
	bottom        = 62.0
	letter        = 0.58
)

// ink is how a series is drawn: in colours that people see apart whichever they see
// (Okabe and Ito's), and in dashes for paper that has none.
type ink struct{ colour, dashes string }

func inkOf(series int) ink {
	inks := []ink{
		{"#0072B2", ""}, {"#D55E00", "11 4"}, {"#009E73", "4 3"}, {"#CC79A7", "14 4 3 4"},
		{"#E69F00", "20 5"}, {"#56B4E9", "2 3"}, {"#000000", "9 3 3 3 3 3"},
	}
	return inks[series%len(inks)]
}

// drawing is a chart on its way to SVG.
type drawing struct {
	Chart
	out bytes.Buffer
	// top is where the plot begins, below titles and legend.
	top float64
	// across and up are the marks of the axes; greatest is the last place on x.
	across, up []float64
	greatest   float64
	// lines are those of each series, with their points in order.
	lines [][][]Point
}

func newDrawing(c Chart) *drawing {
	d := &drawing{Chart: c}
	var highest float64
	for _, series := range c.Series {
		var lines [][]Point
		for _, line := range series.Lines {
			points := line.ordered()
			for _, p := range points {
				d.greatest, highest = max(d.greatest, p.X), max(highest, p.Y)
			}
			lines = append(lines, points)
		}
		d.lines = append(d.lines, lines)
	}
	d.across, d.up = ticks(d.greatest, 10), ticks(highest, 6)
	if d.greatest == 0 {
		d.greatest = d.across[len(d.across)-1]
	}
	return d
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.out, format, args...) }

// draw draws all of it.
func (d *drawing) draw() {
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img" `, width, height, width, height)
	d.printf("font-family=\"'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif\">\n")
	d.printf("<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", escape(d.Title))
	// What is too long for its place is written smaller.
	size := func(text string, size float64) float64 {
		return min(size, (width-left-right)/(letter*float64(max(utf8.RuneCountInString(text), 1))))
	}
	d.text(d.Title, left, 36, textStyle{size: size(d.Title, 20), colour: "#1a1a1a", bold: true})
	d.top = 52
	if d.Subtitle != "" {
		d.text(d.Subtitle, left, 57, textStyle{size: size(d.Subtitle, 13), colour: "#5a5a5a"})
		d.top = 71
	}
	d.legend()
	d.axes()
	for i := range d.Series {
		d.runs(i)
	}
	for i := range d.Series {
		d.median(i)
	}
	for i := range d.Series {
		d.breaks(i)
	}
	if !d.anything() {
		d.text("nothing was seen", (left+width-right)/2, (d.top+height-bottom)/2, textStyle{size: 15, colour: "#5a5a5a", anchor: "middle"})
	}
	d.printf("</svg>\n")
}

// anything says whether a line has a point.
func (d *drawing) anything() bool {
	for _, lines := range d.lines {
		for _, points := range lines {
			if len(points) > 0 {
				return true
			}
		}
	}
	return false
}

// legend names the series, in as many rows as they need, and moves the plot below.
func (d *drawing) legend() {
	const sample, gap, row = 34.0, 26.0, 21.0
	x, y := left, d.top+12
	for i, series := range d.Series {
		said := fmt.Sprintf("%s (%s)", series.Name, described(series))
		wide := sample + 8 + letter*13*float64(utf8.RuneCountInString(said)) + gap
		if x > left && x+wide-gap > width-right {
			x, y = left, y+row
		}
		d.line(x, y, x+sample, y, inkOf(i), 3)
		d.text(said, x+sample+8, y+4.5, textStyle{size: 13, colour: "#1a1a1a"})
		x += wide
	}
	d.top = y + 24
}

// described says of how many runs a series' median is, and of how many it is not.
func described(s Series) string {
	whole, broken := 0, 0
	for _, line := range s.Lines {
		if line.Broken {
			broken++
		} else {
			whole++
		}
	}
	runs := func(count int) string {
		if count == 1 {
			return "1 run"
		}
		return fmt.Sprintf("%d runs", count)
	}
	switch {
	case broken == 0 && whole <= 1:
		return runs(whole)
	case broken == 0:
		return "median of " + runs(whole)
	case whole == 0:
		return runs(broken) + ", not completed ×"
	default:
		return "median of " + runs(whole) + "; " + strconv.Itoa(broken) + " not completed ×"
	}
}

func (d *drawing) x(value float64) float64 { return left + value/d.greatest*(width-left-right) }

func (d *drawing) y(value float64) float64 {
	return height - bottom - value/d.up[len(d.up)-1]*(height-bottom-d.top)
}

// axes draws marks, the lines across the plot, and what the axes count.
func (d *drawing) axes() {
	quiet := textStyle{size: 12, colour: "#5a5a5a", anchor: "end"}
	for _, mark := range d.up {
		y := d.y(mark)
		d.line(left, y, width-right, y, ink{colour: "#e4e4e4"}, 1)
		d.text(number(mark), left-9, y+4, quiet)
	}
	d.line(left, height-bottom, width-right, height-bottom, ink{colour: "#5a5a5a"}, 1)
	quiet.anchor = "middle"
	for _, mark := range d.across {
		if mark > d.greatest*(1+1e-9) {
			continue
		}
		x := d.x(mark)
		d.line(x, height-bottom, x, height-bottom+5, ink{colour: "#5a5a5a"}, 1)
		d.text(number(mark), x, height-bottom+20, quiet)
	}
	title := textStyle{size: 13, colour: "#1a1a1a", anchor: "middle"}
	d.text(d.X, (left+width-right)/2, height-16, title)
	title.turned = true
	d.text(d.Y, 22, (d.top+height-bottom)/2, title)
}

// pixel is how much of x a step of a line takes.
func (d *drawing) pixel() float64 { return d.greatest / (width - left - right) * 2 }

// runs draws the runs of a series, thin.
func (d *drawing) runs(series int) {
	pen := inkOf(series)
	for i, points := range d.lines[series] {
		if len(points) == 0 {
			continue
		}
		broken := d.Series[series].Lines[i].Broken
		style := `stroke-width="1.1" opacity="0.45"`
		if broken {
			style = `stroke-width="1.3" opacity="0.9" stroke-dasharray="1.5 3"`
		}
		d.path(thin(points, d.pixel()), pen.colour, style)
	}
}

// breaks marks where runs ended that were not completed.
func (d *drawing) breaks(series int) {
	for i, points := range d.lines[series] {
		if len(points) == 0 || !d.Series[series].Lines[i].Broken {
			continue
		}
		x, y := d.x(points[len(points)-1].X), d.y(points[len(points)-1].Y)
		for _, pen := range []struct {
			colour string
			thick  float64
		}{{"#ffffff", 6}, {inkOf(series).colour, 2.6}} {
			d.line(x-5, y-5, x+5, y+5, ink{colour: pen.colour}, pen.thick)
			d.line(x-5, y+5, x+5, y-5, ink{colour: pen.colour}, pen.thick)
		}
	}
}

// median draws the median of a series' runs, bold, on a rim of white that lifts it
// off the others.
func (d *drawing) median(series int) {
	var whole [][]Point
	for i, points := range d.lines[series] {
		if !d.Series[series].Lines[i].Broken {
			whole = append(whole, points)
		}
	}
	points := median(whole, d.pixel())
	if len(points) == 0 {
		return
	}
	pen := inkOf(series)
	d.path(points, "#ffffff", `stroke-width="5.5" opacity="0.8"`)
	style := `stroke-width="3"`
	if pen.dashes != "" {
		style += fmt.Sprintf(` stroke-dasharray="%s"`, pen.dashes)
	}
	d.path(points, pen.colour, style)
}

func (d *drawing) path(points []Point, colour, style string) {
	var places []string
	for _, p := range points {
		places = append(places, coordinate(d.x(p.X))+","+coordinate(d.y(p.Y)))
	}
	d.printf("<polyline fill=\"none\" stroke=\"%s\" stroke-linejoin=\"round\" %s points=\"%s\"/>\n", colour, style, strings.Join(places, " "))
}

func (d *drawing) line(x1, y1, x2, y2 float64, pen ink, thick float64) {
	dashes := ""
	if pen.dashes != "" {
		dashes = fmt.Sprintf(` stroke-dasharray="%s"`, pen.dashes)
	}
	d.printf("<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"%s\" stroke-width=\"%g\"%s/>\n",
		coordinate(x1), coordinate(y1), coordinate(x2), coordinate(y2), pen.colour, thick, dashes)
}

// textStyle is how a text looks; it begins at its place unless an anchor says
// otherwise, and is turned to be read from below.
type textStyle struct {
	size           float64
	colour, anchor string
	bold, turned   bool
}

func (d *drawing) text(text string, x, y float64, style textStyle) {
	var more string
	if style.anchor != "" {
		more += fmt.Sprintf(` text-anchor="%s"`, style.anchor)
	}
	if style.bold {
		more += ` font-weight="600"`
	}
	if style.turned {
		more += fmt.Sprintf(` transform="rotate(-90 %s %s)"`, coordinate(x), coordinate(y))
	}
	d.printf("<text x=\"%s\" y=\"%s\" font-size=\"%s\" fill=\"%s\"%s>%s</text>\n",
		coordinate(x), coordinate(y), coordinate(style.size), style.colour, more, escape(text))
}

func coordinate(value float64) string {
	return strconv.FormatFloat(math.Round(value*10)/10, 'f', -1, 64)
}

// number is a mark on an axis, with its thousands apart.
func number(value float64) string {
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(math.Round(value*1e6)/1e6, 'f', -1, 64), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "\u202f" + whole[i:] // a narrow space that does not break
	}
	if fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

func escape(text string) string {
	var out bytes.Buffer
	// Writing to a buffer does not fail.
	_ = xml.EscapeText(&out, []byte(text))
	return out.String()
}
