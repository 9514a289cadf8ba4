import fc from 'fast-check'
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import * as wire from './wire.ts'

const { root } = protobuf.parse(`
  syntax = "proto2";
  message AttributeProto {
    optional string name = 1; optional float f = 2; optional int64 i = 3;
    optional bytes s = 4; optional TensorProto t = 5; optional GraphProto g = 6;
    repeated float floats = 7; repeated int64 ints = 8; repeated bytes strings = 9;
    optional int32 type = 20;
  }
  message NodeProto {
    repeated string input = 1; repeated string output = 2; optional string name = 3;
    optional string op_type = 4; repeated AttributeProto attribute = 5;
    optional string domain = 7;
  }
  message Entry { optional string key = 1; optional string value = 2; }
  message TensorProto {
    repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8;
    optional bytes raw_data = 9; repeated Entry external_data = 13;
    optional int32 data_location = 14;
  }
  message Dim { optional int64 dim_value = 1; optional string dim_param = 2; }
  message Shape { repeated Dim dim = 1; }
  message Tensor { optional int32 elem_type = 1; optional Shape shape = 2; }
  message Type { optional Tensor tensor_type = 1; }
  message ValueInfoProto { optional string name = 1; optional Type type = 2; }
  message GraphProto {
    repeated NodeProto node = 1; optional string name = 2;
    repeated TensorProto initializer = 5; repeated ValueInfoProto input = 11;
    repeated ValueInfoProto output = 12; repeated ValueInfoProto value_info = 13;
  }
  message ModelProto { optional int64 ir_version = 1; optional GraphProto graph = 7; }
  message Varint { optional int64 value = 1; }
`)

function decode(type: string, bytes: Uint8Array): Record<string, unknown> {
  const message = root.lookupType(type)
  return message.toObject(message.decode(bytes), { longs: String, bytes: Array })
}

const int64 = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)
const name = fc.string({ unit: 'grapheme', maxLength: 20 })

test('varints of all 64-bit integers are read back by a protobuf library', () => {
  fc.assert(
    fc.property(int64, (value) => {
      const bytes = wire.varintField(1, value)
      expect(decode('Varint', bytes)).toEqual({ value: String(value) })
    }),
  )
})

test('numbers that a varint cannot hold exactly are refused', () => {
  expect(() => wire.varint(1.5)).toThrow(RangeError)
  expect(() => wire.varint(2 ** 53)).toThrow(RangeError)
})

test('nodes with all kinds of attributes are read back by a protobuf library', () => {
  fc.assert(
    fc.property(
      fc.array(name),
      fc.array(name),
      name.filter((text) => text !== ''),
      fc.array(int64),
      fc.array(fc.float({ noNaN: true })),
      fc.array(name),
      (inputs, outputs, text, ints, floats, strings) => {
        const bytes = wire.nodeProto({
          opType: 'Op',
          domain: text,
          name: text,
          inputs,
          outputs,
          attributes: {
            int: { int: -1 },
            float: { float: 0.5 },
            string: { string: text },
            ints: { ints },
            floats: { floats },
            strings: { strings },
          },
        })
        const utf8 = (s: string): number[] => [...new TextEncoder().encode(s)]
        const list = (key: string, items: readonly unknown[]): object =>
          items.length > 0 ? { [key]: items } : {}
        expect(decode('NodeProto', bytes)).toEqual({
          ...list('input', inputs),
          ...list('output', outputs),
          name: text,
          opType: 'Op',
          domain: text,
          attribute: [
            { name: 'int', i: '-1', type: 2 },
            { name: 'float', f: 0.5, type: 1 },
            { name: 'string', s: utf8(text), type: 3 },
            { name: 'ints', ...list('ints', ints.map(String)), type: 7 },
            { name: 'floats', ...list('floats', floats), type: 6 },
            { name: 'strings', ...list('strings', strings.map(utf8)), type: 8 },
          ],
        })
      },
    ),
  )
})

test('a model made of graph fields is read back by a protobuf library', () => {
  const raw = Uint8Array.of(1, 2, 3)
  const tensor = { name: 'w', dtype: 'int8', dims: [3] } as const
  const far = { name: 'far', dtype: 'float32', dims: [2, 2] } as const
  const model = wire.modelProto(
    wire.varintField(1, 10),
    wire.concat([
      wire.graphField('node', wire.nodeProto({ opType: 'A', inputs: [''], outputs: [] })),
      wire.graphField('initializer', wire.tensorProto({ ...tensor, raw })),
      wire.graphField(
        'initializer',
        wire.externalTensorProto({
          ...far,
          location: 'blob',
          offset: 5_000_000_000,
          length: 16,
        }),
      ),
      wire.graphField('input', wire.valueInfoProto('x', 'float16', ['B', 4, null])),
      wire.graphField('output', wire.valueInfoProto('y', 'int64', null)),
    ]),
  )
  expect(decode('ModelProto', model)).toEqual({
    irVersion: '10',
    graph: {
      name: 'choir',
      node: [{ input: [''], opType: 'A' }],
      initializer: [
        { dims: ['3'], dataType: 3, name: 'w', rawData: [1, 2, 3] },
        {
          dims: ['2', '2'],
          dataType: 1,
          name: 'far',
          externalData: [
            { key: 'location', value: 'blob' },
            { key: 'offset', value: '5000000000' },
            { key: 'length', value: '16' },
          ],
          dataLocation: 1,
        },
      ],
      input: [
        {
          name: 'x',
          type: {
            tensorType: {
              elemType: 10,
              shape: { dim: [{ dimParam: 'B' }, { dimValue: '4' }, {}] },
            },
          },
        },
      ],
      output: [{ name: 'y', type: { tensorType: { elemType: 7 } } }],
    },
  })
})
