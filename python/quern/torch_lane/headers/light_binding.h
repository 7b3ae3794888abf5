// SPDX-License-Identifier: Apache-2.0
#pragma once

// Python's way to the functions of an extension: the part of pybind11's interface that PyTorch's
// extensions use, over Python's C functions. Brought in by light_torch.h.

#include <Python.h>

#include "light_torch.h"

namespace torch {

// Bindings: each function becomes a Python one that takes its arguments by place.

template <class T>
struct quern_from;  // Python to C++
template <>
struct quern_from<Tensor> {
  static Tensor get(PyObject* object);
};
#define QUERN_FROM(type, call)                                              \
  template <>                                                               \
  struct quern_from<type> {                                                 \
    static type get(PyObject* object) {                                     \
      const auto value = call(object);                                      \
      if (PyErr_Occurred()) throw std::invalid_argument("bad argument");    \
      return static_cast<type>(value);                                      \
    }                                                                       \
  };
QUERN_FROM(int, PyLong_AsLongLong)
QUERN_FROM(long, PyLong_AsLongLong)
QUERN_FROM(long long, PyLong_AsLongLong)
QUERN_FROM(unsigned, PyLong_AsLongLong)
QUERN_FROM(unsigned long, PyLong_AsUnsignedLongLong)
QUERN_FROM(float, PyFloat_AsDouble)
QUERN_FROM(double, PyFloat_AsDouble)
QUERN_FROM(bool, PyObject_IsTrue)
#undef QUERN_FROM
template <class T>
struct quern_from<std::vector<T>> {
  static std::vector<T> get(PyObject* object) {
    std::vector<T> made;
    const Py_ssize_t count = PySequence_Size(object);
    if (count < 0) throw std::invalid_argument("bad argument");
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* item = PySequence_GetItem(object, i);
      made.push_back(quern_from<T>::get(item));
      Py_DECREF(item);
    }
    return made;
  }
};
template <class T>
struct quern_from<std::optional<T>> {
  static std::optional<T> get(PyObject* object) {
    if (object == Py_None) return std::nullopt;
    return quern_from<T>::get(object);
  }
};

/// PyTorch's own functions between a Python tensor and a handle.
inline PyObject* quern_bridge(bool out) {
  static PyObject* functions[2] = {nullptr, nullptr};
  if (!functions[0]) {
    PyObject* torch_module = PyImport_ImportModule("torch");
    PyObject* c = PyObject_GetAttrString(torch_module, "_C");
    PyObject* aoti = PyObject_GetAttrString(c, "_aoti");
    functions[0] = PyObject_GetAttrString(aoti, "unsafe_alloc_void_ptrs_from_tensors");
    functions[1] = PyObject_GetAttrString(aoti, "alloc_tensors_by_stealing_from_void_ptrs");
    Py_DECREF(aoti);
    Py_DECREF(c);
    Py_DECREF(torch_module);
  }
  return functions[out ? 1 : 0];
}
inline Tensor quern_from<Tensor>::get(PyObject* object) {
  PyObject* list = PyList_New(1);
  Py_INCREF(object);
  PyList_SET_ITEM(list, 0, object);
  PyObject* made = PyObject_CallOneArg(quern_bridge(false), list);
  Py_DECREF(list);
  if (!made) throw std::invalid_argument("not a tensor");
  void* handle = PyCapsule_GetPointer(PyList_GetItem(made, 0), nullptr);
  Py_DECREF(made);
  return Tensor::adopt(static_cast<AtenTensorHandle>(handle));
}

inline PyObject* quern_to(Tensor tensor) {
  if (!tensor.defined()) Py_RETURN_NONE;
  PyObject* list = PyList_New(1);
  PyList_SET_ITEM(list, 0, PyCapsule_New(tensor.release(), nullptr, nullptr));
  PyObject* made = PyObject_CallOneArg(quern_bridge(true), list);
  Py_DECREF(list);
  if (!made) return nullptr;
  PyObject* item = PyList_GetItem(made, 0);
  Py_INCREF(item);
  Py_DECREF(made);
  return item;
}
inline PyObject* quern_to(double value) { return PyFloat_FromDouble(value); }
inline PyObject* quern_to(float value) { return PyFloat_FromDouble(value); }
inline PyObject* quern_to(bool value) { return PyBool_FromLong(value); }
inline PyObject* quern_to(int value) { return PyLong_FromLong(value); }
inline PyObject* quern_to(long value) { return PyLong_FromLong(value); }
inline PyObject* quern_to(const std::string& text) { return PyUnicode_FromString(text.c_str()); }
inline PyObject* quern_to(std::vector<Tensor> tensors) {
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(tensors.size()));
  for (size_t i = 0; i < tensors.size(); ++i) {
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), quern_to(std::move(tensors[i])));
  }
  return list;
}
template <class... T>
PyObject* quern_to(std::tuple<T...> values) {
  PyObject* made = PyTuple_New(sizeof...(T));
  Py_ssize_t i = 0;
  std::apply([&](auto&... each) { (PyTuple_SET_ITEM(made, i++, quern_to(std::move(each))), ...); },
             values);
  return made;
}

template <class R, class... A, size_t... i>
PyObject* quern_call(R (*function)(A...), PyObject* const* given, std::index_sequence<i...>) {
  std::tuple<std::decay_t<A>...> arguments{quern_from<std::decay_t<A>>::get(given[i])...};
  if constexpr (std::is_void_v<R>) {
    function(static_cast<A>(std::get<i>(arguments))...);
    Py_RETURN_NONE;
  } else {
    return quern_to(function(static_cast<A>(std::get<i>(arguments))...));
  }
}

template <class R, class... A>
PyObject* quern_enter(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  using Function = R (*)(A...);
  try {
    if (count != static_cast<Py_ssize_t>(sizeof...(A))) {
      throw std::invalid_argument(quern_text("takes ", sizeof...(A), " arguments, got ", count));
    }
    const auto function = reinterpret_cast<Function>(PyCapsule_GetPointer(self, nullptr));
    return quern_call(function, given, std::index_sequence_for<A...>{});
  } catch (const std::invalid_argument& error) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::exception& error) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

struct quern_module {
  PyObject* module;
  PyObject* doc_holder = nullptr;
  std::string doc_text;
  std::string& doc() { return doc_text; }
  template <class R, class... A>
  quern_module& def(const char* name, R (*function)(A...), const char* text = "") {
    auto* method = new PyMethodDef{
        strdup(name),
        reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&quern_enter<R, A...>)),
        METH_FASTCALL, strdup(text)};
    PyObject* self = PyCapsule_New(reinterpret_cast<void*>(function), nullptr, nullptr);
    PyModule_AddObject(module, name, PyCFunction_New(method, self));
    return *this;
  }
};

}  // namespace torch

#define QUERN_STRING_OF(name) #name
#define QUERN_STRING(name) QUERN_STRING_OF(name)
#define QUERN_JOIN_OF(a, b) a##b
#define QUERN_JOIN(a, b) QUERN_JOIN_OF(a, b)
#define PYBIND11_MODULE(name, m)                                                            \
  static void quern_define(torch::quern_module& m);                                         \
  extern "C" __attribute__((visibility("default"))) PyObject* QUERN_JOIN(PyInit_, name)() { \
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, QUERN_STRING(name), nullptr, -1, \
                                     nullptr, nullptr, nullptr, nullptr, nullptr};          \
    torch::quern_module module{PyModule_Create(&definition)};                               \
    quern_define(module);                                                                   \
    return module.module;                                                                   \
  }                                                                                         \
  static void quern_define(torch::quern_module& m)
