package call

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"storj.io/drpc"

	"interop.test/storj/service"
)

// BenchResult is what one measurement found.
type BenchResult struct {
	Bench       string  `json:"bench"`
	Peer        string  `json:"peer"`
	Concurrency int     `json:"concurrency"`
	Connections int     `json:"connections"`
	Size        int     `json:"size"`
	Seconds     float64 `json:"seconds"`
	// Count is the number of calls (unary) or messages (stream), PerSecond their rate.
	Count      int     `json:"count"`
	PerSecond  float64 `json:"perSecond"`
	MBytesPerS float64 `json:"mbytesPerSecond"`
	// The times of unary calls, in microseconds.
	P50 float64 `json:"p50Us,omitempty"`
	P99 float64 `json:"p99Us,omitempty"`
	Max float64 `json:"maxUs,omitempty"`
}

// Bench measures unary calls of /bench/echo or messages of /bench/stream. The first tenth is warm-up
// and does not count.
func (c *Client) Bench(ctx context.Context, mode string, concurrency, connections, size int, length time.Duration) (*BenchResult, error) {
	if mode != "unary" && mode != "stream" {
		return nil, fmt.Errorf("no bench %q: unary or stream", mode)
	}
	if connections == 0 && c.Peer.Multiplexes {
		connections = 1
	} else if connections == 0 || !c.Peer.Multiplexes {
		connections = concurrency
	}
	conns := make([]drpc.Conn, connections)
	for k := range conns {
		conn, err := c.Dial(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
		conns[k] = conn
	}

	begin := time.Now().Add(length / 10)
	end := begin.Add(length)
	counts := make([]int, concurrency)
	times := make([][]time.Duration, concurrency)
	failures := make([]error, concurrency)
	var group sync.WaitGroup
	for k := range concurrency {
		group.Go(func() {
			conn := conns[k%connections]
			if mode == "unary" {
				times[k], failures[k] = benchUnary(ctx, conn, size, begin, end)
				counts[k] = len(times[k])
			} else {
				counts[k], failures[k] = benchStream(ctx, conn, size, begin, end)
			}
		})
	}
	group.Wait()

	result := &BenchResult{
		Bench: mode, Peer: c.Peer.Name, Concurrency: concurrency, Connections: connections, Size: size,
		Seconds: length.Seconds(),
	}
	for k, err := range failures {
		if err != nil {
			return nil, err
		}
		result.Count += counts[k]
	}
	result.PerSecond = round(float64(result.Count) / length.Seconds())
	result.MBytesPerS = round(result.PerSecond * float64(size) / 1e6)
	if all := slices.Concat(times...); len(all) > 0 {
		slices.Sort(all)
		us := func(share float64) float64 {
			return round(float64(all[int(share*float64(len(all)-1))].Nanoseconds()) / 1e3)
		}
		result.P50, result.P99, result.Max = us(0.5), us(0.99), us(1)
	}
	return result, nil
}

func round(x float64) float64 { return math.Round(x*10) / 10 }

func benchUnary(ctx context.Context, conn drpc.Conn, size int, begin, end time.Time) (times []time.Duration, err error) {
	data := service.Fill(0, size)
	for {
		start := time.Now()
		if start.After(end) {
			return times, nil
		}
		answer, err := Invoke(ctx, conn, service.BenchEcho, data)
		if err != nil {
			return nil, err
		}
		if len(answer) != size {
			return nil, fmt.Errorf("answered with %d bytes instead of %d", len(answer), size)
		}
		if start.After(begin) {
			times = append(times, time.Since(start))
		}
	}
}

// benchStream reads streams of a thousand messages, one after another.
func benchStream(ctx context.Context, conn drpc.Conn, size int, begin, end time.Time) (count int, err error) {
	const n = 1000
	request, err := json.Marshal(service.CountRequest{N: n, Size: size})
	if err != nil {
		return 0, err
	}
	for {
		inner, err := conn.NewStream(ctx, service.BenchStream, service.Encoding{})
		if err != nil {
			return 0, err
		}
		stream := &Stream{inner}
		if err := stream.Send(request); err != nil {
			return 0, err
		}
		if err := stream.CloseSend(); err != nil {
			return 0, err
		}
		for range n {
			if _, err := stream.Recv(); err != nil {
				return 0, err
			}
			now := time.Now()
			if now.After(begin) && !now.After(end) {
				count++
			}
		}
		if err := stream.End(); err != nil {
			return 0, err
		}
		if time.Now().After(end) {
			return count, nil
		}
	}
}
